package camsearch.elasticsearch;

import java.net.URI;
import java.util.Collection;
import java.util.List;

import org.elasticsearch.action.support.ActionFilter;
import org.elasticsearch.common.settings.SecureSetting;
import org.elasticsearch.common.settings.SecureString;
import org.elasticsearch.common.settings.Setting;
import org.elasticsearch.common.settings.Setting.Property;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.common.unit.ByteSizeValue;
import org.elasticsearch.core.TimeValue;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.plugins.SearchPlugin;
import org.elasticsearch.search.fetch.FetchSubPhase;

/** Image search in Elasticsearch: the query vector builder and the retriever camsearch. */
public final class CamsearchPlugin extends Plugin implements SearchPlugin, ActionPlugin {
    static final Setting<URI> URL =
        new Setting<>("camsearch.url", "http://127.0.0.1:9280", CamsearchPlugin::address, Property.NodeScope);
    static final Setting<TimeValue> TIMEOUT =
        Setting.positiveTimeSetting("camsearch.timeout", TimeValue.timeValueSeconds(10), Property.NodeScope, Property.Dynamic);
    static final Setting<String> AUTHORITIES = Setting.simpleString("camsearch.certificate_authorities", Property.NodeScope);
    static final Setting<ByteSizeValue> MAX_IMAGE =
        Setting.byteSizeSetting("camsearch.max_image_size", ByteSizeValue.ofMb(20), Property.NodeScope);
    static final Setting<SecureString> KEY = SecureSetting.secureString("camsearch.api_key", null);

    private final SecureString key;
    private final long maxBytes;
    private volatile Describer describer;
    private volatile ActionFilter filter;

    public CamsearchPlugin(Settings settings) {
        key = KEY.get(settings); // the keystore is closed after the constructor
        maxBytes = MAX_IMAGE.get(settings).getBytes();
    }

    private static URI address(String text) {
        URI url = URI.create(text.endsWith("/") ? text : text + "/");
        if (("http".equals(url.getScheme()) || "https".equals(url.getScheme())) == false || url.getHost() == null) {
            throw new IllegalArgumentException("camsearch.url must be an address such as http://127.0.0.1:9280, not [" + text + "].");
        }
        return url;
    }

    @Override
    public Collection<?> createComponents(PluginServices services) {
        Settings settings = services.environment().settings();
        String pem = AUTHORITIES.get(settings);
        var tls = pem.isEmpty() ? null : Trust.in(services.environment().configDir().resolve(pem));
        var service = new ServiceClient(URL.get(settings), key, tls, services.threadPool());
        services.clusterService().getClusterSettings().initializeAndWatch(TIMEOUT, service::timeout);
        describer = new Describer(service, services.clusterService(), services.indexNameExpressionResolver());
        filter = new Searched.Filter(services.threadPool().getThreadContext());
        return List.of();
    }

    @Override
    public Settings additionalSettings() {
        return Settings.builder().put("node.attr." + Describer.ATTRIBUTE, true).build();
    }

    @Override
    public List<Setting<?>> getSettings() {
        return List.of(URL, TIMEOUT, AUTHORITIES, MAX_IMAGE, KEY);
    }

    @Override
    public List<QueryVectorBuilderSpec<?>> getQueryVectorBuilders() {
        return List.of(
            new QueryVectorBuilderSpec<>(
                ImageVectorBuilder.NAME,
                in -> new ImageVectorBuilder(in, () -> describer),
                (parser, nothing) -> ImageVectorBuilder.parse(parser, maxBytes, () -> describer)
            )
        );
    }

    @Override
    public List<RetrieverSpec<?>> getRetrievers() {
        return List.of(
            new RetrieverSpec<>(
                CamsearchRetriever.NAME,
                (parser, context) -> CamsearchRetriever.parse(parser, context, maxBytes, () -> describer)
            )
        );
    }

    @Override
    public List<SearchExtSpec<?>> getSearchExts() {
        return List.of(new SearchExtSpec<>(FoundHits.NAME, FoundHits::new, parser -> {
            throw new IllegalArgumentException("[" + FoundHits.NAME + "] is not for requests: use the retriever [camsearch].");
        }));
    }

    @Override
    public List<FetchSubPhase> getFetchSubPhases(FetchPhaseConstructionContext context) {
        return List.of(new HitFields());
    }

    @Override
    public Collection<ActionFilter> getActionFilters() {
        return List.of(filter);
    }
}
