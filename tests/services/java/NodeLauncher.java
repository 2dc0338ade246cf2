import java.lang.reflect.Method;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;

import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginBundle;
import org.elasticsearch.plugins.PluginsLoader;

/**
 * One Elasticsearch node for tests: NodeLauncher CONFIGURATION-FOLDER MODULES-FOLDER.
 *
 * The distribution's own start-up refuses root and wants files that only the distribution has; the
 * node itself wants neither.
 */
public final class NodeLauncher {
    private NodeLauncher() {}

    public static void main(String[] folders) throws Exception {
        Path configuration = Path.of(folders[0]);
        Path modules = Path.of(folders[1]);

        // First of all: classes that log fail to load where logging is not set up.
        LogConfigurator.configureESLogging();
        Environment environment =
            InternalSettingsPreparer.prepareEnvironment(Settings.EMPTY, Map.of(), configuration, () -> "camsearch-test");
        LogConfigurator.setNodeName(Node.NODE_NAME_SETTING.get(environment.settings()));

        Set<PluginBundle> bundles = bundlesIn(modules);
        Node node = new Node(environment, PluginsLoader.createPluginsLoader(bundles, Set.of(), Map.of()));

        // All of the node's threads are daemons: without the latch the process would end here.
        CountDownLatch closed = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> closeThenOpen(node, closed), "close-the-node"));
        node.start();
        closed.await();
    }

    private static void closeThenOpen(Node node, CountDownLatch latch) {
        try {
            node.close();
        } catch (Exception trouble) {
            trouble.printStackTrace();
        } finally {
            latch.countDown();
        }
    }

    /** The method takes the folder, and since 9.5 also whether this is Elastic's cloud. */
    @SuppressWarnings("unchecked")
    private static Set<PluginBundle> bundlesIn(Path modules) throws ReflectiveOperationException {
        Method load = Arrays.stream(PluginsLoader.class.getMethods())
            .filter(method -> method.getName().equals("loadModulesBundles"))
            .findFirst()
            .orElseThrow(() -> new NoSuchMethodException("this Elasticsearch loads its modules in another way"));
        Object found = load.getParameterCount() == 1 ? load.invoke(null, modules) : load.invoke(null, modules, false);
        return (Set<PluginBundle>) found;
    }
}
