package camsearch.elasticsearch;

import java.util.Arrays;
import java.util.List;

import org.elasticsearch.action.ActionListener;
import org.elasticsearch.action.ActionRequest;
import org.elasticsearch.action.ActionResponse;
import org.elasticsearch.action.IndicesRequest;
import org.elasticsearch.action.admin.indices.validate.query.ValidateQueryRequest;
import org.elasticsearch.action.explain.ExplainRequest;
import org.elasticsearch.action.search.SearchContextId;
import org.elasticsearch.action.search.SearchRequest;
import org.elasticsearch.action.support.ActionFilter;
import org.elasticsearch.action.support.ActionFilterChain;
import org.elasticsearch.action.support.ContextPreservingActionListener;
import org.elasticsearch.action.support.IndicesOptions;
import org.elasticsearch.cluster.ClusterState;
import org.elasticsearch.cluster.metadata.IndexNameExpressionResolver;
import org.elasticsearch.common.util.concurrent.ThreadContext;
import org.elasticsearch.tasks.Task;

/**
 * The indices that a search names, and its task: a query vector builder is told neither.
 *
 * @param indices names, patterns and aliases; none for all
 * @param indicesOptions how patterns are expanded
 * @param task of the search
 */
record Searched(String[] indices, IndicesOptions indicesOptions, Task task) implements IndicesRequest {
    private static final String KEY = "camsearch.searched";

    /** The search of this thread; null outside of searches. */
    static Searched of(ThreadContext context) {
        return context.getTransient(KEY);
    }

    @Override
    public boolean includeDataStreams() {
        return true;
    }

    /**
     * The method of the indices, from this node's copy of the cluster state.
     *
     * @throws IllegalArgumentException camsearch made none of them, or they are in another cluster
     */
    IndexMethod method(ClusterState state, IndexNameExpressionResolver resolver) {
        if (Arrays.stream(indices).anyMatch(name -> name.indexOf(':') >= 0)) {
            throw new IllegalArgumentException(
                "[camsearch] does not search other clusters: send the search to the cluster that has the index."
            );
        }
        var concrete = Arrays.stream(resolver.concreteIndices(state, this));
        return IndexMethod.of(concrete.map(index -> IndexMethod.metadataOf(state, index)).toList());
    }

    /** Leaves each search where {@link #of} finds it. */
    static final class Filter implements ActionFilter {
        private final ThreadContext context;

        Filter(ThreadContext context) {
            this.context = context;
        }

        /** After security, which replaces the names by those that the caller may read. */
        @Override
        public int order() {
            return 0;
        }

        @Override
        public <Q extends ActionRequest, R extends ActionResponse> void apply(
            Task task,
            String action,
            Q request,
            ActionListener<R> listener,
            ActionFilterChain<Q, R> chain
        ) {
            Searched searched = read(task, request);
            // The searches that a retriever makes of its own keep what was asked first.
            if (searched == null || of(context) != null) {
                chain.proceed(task, action, request, listener);
                return;
            }
            ActionListener<R> outside = ContextPreservingActionListener.wrapPreservingContext(listener, context);
            try (var ignored = context.newStoredContext(List.of(KEY), List.of())) {
                context.putTransient(KEY, searched);
                chain.proceed(task, action, request, outside);
            }
        }

        private static Searched read(Task task, ActionRequest request) {
            if (request instanceof SearchRequest search) {
                var pit = search.source() == null ? null : search.source().pointInTimeBuilder();
                return pit == null
                    ? new Searched(search.indices(), search.indicesOptions(), task)
                    : new Searched(SearchContextId.decodeIndices(pit.getEncodedId()), IndicesOptions.lenientExpandOpen(), task);
            }
            if (request instanceof ExplainRequest || request instanceof ValidateQueryRequest) {
                IndicesRequest named = (IndicesRequest) request;
                return new Searched(named.indices(), named.indicesOptions(), task);
            }
            return null;
        }
    }
}
