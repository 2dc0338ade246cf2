import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.CountDownLatch;

import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.KeyStoreWrapper;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginBundle;
import org.elasticsearch.plugins.PluginsLoader;

/**
 * A node with plugins: PluginLauncher CONFIGURATION-FOLDER MODULES-FOLDER PLUGINS-FOLDER.
 *
 * As tests/services/java/NodeLauncher.java; settings in CONFIGURATION-FOLDER/secrets.properties are
 * those that a node has in its keystore.
 */
public final class PluginLauncher {
    private PluginLauncher() {}

    public static void main(String[] folders) throws Exception {
        Path configuration = Path.of(folders[0]);
        LogConfigurator.configureESLogging();
        Environment environment =
            InternalSettingsPreparer.prepareEnvironment(secrets(configuration), Map.of(), configuration, () -> "camsearch-test");
        LogConfigurator.setNodeName(Node.NODE_NAME_SETTING.get(environment.settings()));
        Set<PluginBundle> modules = bundles("loadModulesBundles", Path.of(folders[1]));
        Set<PluginBundle> plugins = bundles("loadPluginsBundles", Path.of(folders[2]));
        Node node = new Node(environment, PluginsLoader.createPluginsLoader(modules, plugins, Map.of()));
        CountDownLatch closed = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                node.close();
            } catch (Exception trouble) {
                trouble.printStackTrace();
            } finally {
                closed.countDown();
            }
        }));
        node.start();
        closed.await();
    }

    private static Settings secrets(Path configuration) throws Exception {
        Path file = configuration.resolve("secrets.properties");
        if (Files.exists(file) == false) {
            return Settings.EMPTY;
        }
        Properties secrets = new Properties();
        try (var lines = Files.newBufferedReader(file)) {
            secrets.load(lines);
        }
        KeyStoreWrapper keystore = KeyStoreWrapper.create();
        for (String name : secrets.stringPropertyNames()) {
            keystore.setString(name, secrets.getProperty(name).toCharArray());
        }
        return Settings.builder().setSecureSettings(keystore).build();
    }

    @SuppressWarnings("unchecked")
    private static Set<PluginBundle> bundles(String loader, Path folder) throws ReflectiveOperationException {
        Method load = Arrays.stream(PluginsLoader.class.getMethods()).filter(method -> method.getName().equals(loader)).findFirst().orElseThrow();
        return (Set<PluginBundle>) (load.getParameterCount() == 1 ? load.invoke(null, folder) : load.invoke(null, folder, false));
    }
}
