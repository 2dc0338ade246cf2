package camsearch.elasticsearch;

import java.util.List;
import java.util.Map;

import org.elasticsearch.ElasticsearchStatusException;
import org.elasticsearch.action.ActionListener;
import org.elasticsearch.client.internal.Client;
import org.elasticsearch.cluster.metadata.IndexNameExpressionResolver;
import org.elasticsearch.cluster.node.DiscoveryNode;
import org.elasticsearch.cluster.service.ClusterService;
import org.elasticsearch.common.Strings;
import org.elasticsearch.index.query.IdsQueryBuilder;
import org.elasticsearch.rest.RestStatus;
import org.elasticsearch.search.SearchHit;
import org.elasticsearch.search.fetch.StoredFieldsContext;

/** Turns images into query vectors, and compares hits by what the service knows of them. */
final class Describer {
    static final String DESCRIPTOR = "descriptor";
    /** Of nodes that have the plugin. */
    static final String ATTRIBUTE = "camsearch";

    private final ServiceClient service;
    private final ClusterService cluster;
    private final IndexNameExpressionResolver resolver;

    Describer(ServiceClient service, ClusterService cluster, IndexNameExpressionResolver resolver) {
        this.service = service;
        this.cluster = cluster;
        this.resolver = resolver;
    }

    /** The method of the indices that the running search names. */
    IndexMethod method(Searched searched) {
        return searched.method(cluster.state(), resolver);
    }

    /**
     * Checks that all nodes with shards can return the fields of hits.
     *
     * Without this, shards of a node that lacks the plugin would fail and be left out. A feature of
     * the cluster would do, too, but then no node could join without the plugin, and it could only
     * be removed by stopping all nodes.
     *
     * @throws IllegalArgumentException a node lacks the plugin
     */
    void checkNodes() {
        for (DiscoveryNode node : cluster.state().nodes().getDataNodes().values()) {
            if (node.getAttributes().containsKey(ATTRIBUTE) == false) {
                throw new IllegalArgumentException(
                    "[camsearch] needs its plugin on all data nodes, and [" + node.getName() + "] lacks it: install it there."
                );
            }
        }
    }

    /**
     * The search that an image is used in.
     *
     * @throws IllegalArgumentException there is none
     */
    static Searched searched(Client client) {
        Searched searched = Searched.of(client.threadPool().getThreadContext());
        if (searched == null) {
            throw new IllegalArgumentException("[camsearch] works in searches, counts, explanations and validations of an index only.");
        }
        return searched;
    }

    /**
     * The unit vector of an image.
     *
     * Documents are read with the caller's rights, also where the service reads them again.
     */
    void describe(Client client, QueryImage image, ActionListener<float[]> listener) {
        ActionListener.run(listener, l -> {
            Searched searched = searched(client);
            IndexMethod method = method(searched);
            if (image.documentId() == null) {
                ask(searched, method, image, null, l);
                return;
            }
            find(client, searched, image.documentId(), l.delegateFailureAndWrap((ll, hit) -> {
                if (image.describedId() == null) {
                    ask(searched, method, image, hit.getIndex(), ll);
                } else {
                    ll.onResponse(descriptor(hit));
                }
            }));
        });
    }

    /** The listener may not keep the hit, which is released after it. */
    private static void find(Client client, Searched searched, String id, ActionListener<SearchHit> listener) {
        client.prepareSearch(searched.indices())
            .setIndicesOptions(searched.indicesOptions())
            .setQuery(new IdsQueryBuilder().addIds(id))
            .setFetchSource(false)
            .addDocValueField(DESCRIPTOR)
            .setTrackTotalHits(false)
            .setSize(1)
            .execute(listener.delegateFailureAndWrap((l, found) -> {
                SearchHit[] hits = found.getHits().getHits();
                if (hits.length == 0) {
                    throw new ElasticsearchStatusException(
                        "[camsearch.image.id] names [{}], which is not a document of [{}]: use the id of one, or send the image as [data].",
                        RestStatus.NOT_FOUND,
                        id,
                        Strings.arrayToCommaDelimitedString(searched.indices())
                    );
                }
                l.onResponse(hits[0]);
            }));
    }

    /**
     * The descriptor of a hit that was asked for its doc value.
     *
     * @throws IllegalArgumentException the document has none
     */
    static float[] descriptor(SearchHit hit) {
        var field = hit.field(DESCRIPTOR);
        if (field == null) {
            throw new IllegalArgumentException("The document [" + hit.getId() + "] has no descriptor: camsearch did not write it.");
        }
        return Vectors.floats(field.getValue());
    }

    private void ask(Searched searched, IndexMethod method, QueryImage image, String index, ActionListener<float[]> listener) {
        service.post("_camsearch/vector", body -> {
            image.toService(body);
            if (index != null) { // where the service finds the document
                body.field("index", index);
            }
        }, searched.task(), listener.delegateFailureAndWrap((l, said) -> {
            method.check(String.valueOf(said.get("fingerprint")));
            l.onResponse(vector(said));
        }));
    }

    private static float[] vector(Map<String, Object> said) {
        try {
            return Vectors.floats(said.get("vector"));
        } catch (IllegalArgumentException error) {
            throw ServiceAnswer.unexpected("a vector");
        }
    }

    /**
     * Scores and boxes of documents of one index by their maps or images.
     *
     * @param rerank what is compared
     * @param ids of the documents
     */
    void rank(
        Searched searched,
        QueryImage image,
        String index,
        List<String> ids,
        Rerank rerank,
        ActionListener<Map<String, Object>> listener
    ) {
        service.post("_camsearch/rank", body -> {
            image.toService(body);
            body.field("index", index).field("ids", ids).field("by", rerank.by());
            if (rerank.classes() != null) {
                body.field("classes", rerank.classes());
            }
        }, searched.task(), listener.delegateFailureAndWrap((l, said) -> {
            if ((said.get("scores") instanceof Map && said.get("boxes") instanceof Map) == false) {
                throw ServiceAnswer.unexpected("scores");
            }
            l.onResponse(said);
        }));
    }
}
