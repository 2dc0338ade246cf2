package camsearch.elasticsearch;

import java.lang.reflect.Method;
import java.util.Collection;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

import org.elasticsearch.ElasticsearchStatusException;
import org.elasticsearch.cluster.ClusterState;
import org.elasticsearch.cluster.metadata.IndexMetadata;
import org.elasticsearch.cluster.metadata.Metadata;
import org.elasticsearch.index.Index;
import org.elasticsearch.rest.RestStatus;

/**
 * The method that made an index's vectors, from _meta.camsearch of its mapping.
 *
 * @param index its name
 * @param fingerprint of the method
 * @param windows whether images are indexed with windows
 * @param expansion settings of the expansion by diffusion
 */
record IndexMethod(String index, String fingerprint, boolean windows, Expansion expansion) {
    private static final int SHOWN = 16;
    private static final int MAX_KNOWN = 1000;
    // Mappings are stored compressed; by index and the version of its mapping.
    private static final Map<String, IndexMethod> KNOWN = new ConcurrentHashMap<>();

    /**
     * The one method of all the indices that camsearch made.
     *
     * @throws ElasticsearchStatusException 409 if they have several
     * @throws IllegalArgumentException camsearch made none of them
     */
    static IndexMethod of(Collection<IndexMetadata> indices) {
        IndexMethod found = null;
        for (IndexMetadata index : indices) {
            IndexMethod method = KNOWN.get(key(index));
            if (method == null) {
                method = read(index);
            }
            if (method != null && found != null && method.fingerprint.equals(found.fingerprint) == false) {
                throw new ElasticsearchStatusException(
                    "The vectors of [{}] were made with fingerprint {}, those of [{}] with {}: search one of them.",
                    RestStatus.CONFLICT,
                    found.index,
                    shown(found.fingerprint),
                    method.index,
                    shown(method.fingerprint)
                );
            }
            found = found == null ? method : found;
        }
        if (found == null) {
            throw new IllegalArgumentException(
                "The search names no index that camsearch made: no mapping has _meta.camsearch. "
                    + "Search the alias that `camsearch gallery create` made."
            );
        }
        return found;
    }

    /**
     * The metadata of an index; the method that returns it was renamed in version 9.
     */
    static IndexMetadata metadataOf(ClusterState state, Index index) {
        try {
            return (IndexMetadata) METADATA.invoke(state.metadata(), index);
        } catch (ReflectiveOperationException error) {
            throw new IllegalStateException("this version of Elasticsearch keeps the metadata of indices elsewhere", error);
        }
    }

    private static final Method METADATA = metadataMethod();

    private static Method metadataMethod() {
        for (String name : new String[] { "indexMetadata", "index" }) {
            try {
                return Metadata.class.getMethod(name, Index.class);
            } catch (NoSuchMethodException error) {
                continue; // the other version's
            }
        }
        throw new IllegalStateException("this version of Elasticsearch keeps the metadata of indices elsewhere");
    }

    private static IndexMethod read(IndexMetadata index) {
        if (index.mapping() == null) {
            return null;
        }
        Object meta = index.mapping().sourceAsMap().get("_meta");
        Object about = meta instanceof Map<?, ?> map ? map.get("camsearch") : null;
        if ((about instanceof Map<?, ?> said && said.get("fingerprint") instanceof String) == false) {
            return null;
        }
        Map<?, ?> known = (Map<?, ?>) about;
        Object windows = known.get("method") instanceof Map<?, ?> settings ? settings.get("windows") : null;
        boolean has = windows instanceof Number count && count.intValue() > 0;
        Map<?, ?> regions = known.get("regions") instanceof Map<?, ?> map ? map : Map.of();
        String fingerprint = (String) known.get("fingerprint");
        IndexMethod method = new IndexMethod(index.getIndex().getName(), fingerprint, has, Expansion.of(regions));
        if (KNOWN.size() >= MAX_KNOWN) {
            KNOWN.clear();
        }
        KNOWN.put(key(index), method);
        return method;
    }

    private static String key(IndexMetadata index) {
        return index.getIndexUUID() + "/" + index.getMappingVersion();
    }

    /**
     * Checks that the service describes images with this method.
     *
     * @throws ElasticsearchStatusException 409 if it does not
     */
    void check(String service) {
        if (fingerprint.equals(service) == false) {
            throw new ElasticsearchStatusException(
                "The vectors of [{}] were made with fingerprint {}, the service at camsearch.url describes images with {}: "
                    + "search another index, or run a service for this one.",
                RestStatus.CONFLICT,
                index,
                shown(fingerprint),
                shown(service)
            );
        }
    }

    private static String shown(String fingerprint) {
        return fingerprint.substring(0, Math.min(SHOWN, fingerprint.length()));
    }
}
