package camsearch.elasticsearch;

import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.stream.Collectors;

import org.apache.lucene.search.join.ScoreMode;
import org.elasticsearch.action.ActionListener;
import org.elasticsearch.action.search.SearchRequest;
import org.elasticsearch.action.search.TransportSearchAction;
import org.elasticsearch.action.support.GroupedActionListener;
import org.elasticsearch.client.internal.Client;
import org.elasticsearch.common.logging.HeaderWarning;
import org.elasticsearch.index.query.BoolQueryBuilder;
import org.elasticsearch.index.query.NestedQueryBuilder;
import org.elasticsearch.index.query.RankDocsQueryBuilder;
import org.elasticsearch.search.SearchHit;
import org.elasticsearch.search.builder.PointInTimeBuilder;
import org.elasticsearch.search.builder.SearchSourceBuilder;
import org.elasticsearch.search.rank.RankDoc;
import org.elasticsearch.search.sort.FieldSortBuilder;
import org.elasticsearch.search.sort.ScoreSortBuilder;
import org.elasticsearch.search.vectors.ExactKnnQueryBuilder;
import org.elasticsearch.search.vectors.KnnSearchBuilder;
import org.elasticsearch.search.vectors.VectorData;

/**
 * The searches behind one re-ranking, one after the other in one point in time.
 *
 * first search, re-ranking of its first hits, expansion, second search: as reranker/search/search.py.
 */
final class RankedSearch {
    /** What a search by descriptors gives to be compared by windows, as galleries/gallery.py. */
    private static final int FIRST_DOCUMENTS = 1000;
    private static final int WIDE_CANDIDATES = 1500;
    private static final int MAX_HITS = 10_000;

    /**
     * What is asked for.
     *
     * @param image to compare with
     * @param window R, how many first hits are re-ranked
     * @param rerank null for no re-ranking
     * @param expand null for no expansion
     */
    record Plan(ImageVectorBuilder image, int window, Rerank rerank, Expand expand) {}

    private final Client client;
    private final PointInTimeBuilder pit;
    private final Plan plan;
    private final IndexMethod method;
    private final float[] query;
    private final SearchSourceBuilder first;
    /** The only knn of the first search, if its scores are the cosines of our image. */
    private final KnnSearchBuilder knn;
    private final boolean byVectors;
    private Map<Long, Candidate> firstHits = Map.of();

    /**
     * @param method of the indices
     * @param query unit vector of the plan's image
     * @param first the first search
     * @param byVectors whether its scores are the cosines of the image
     */
    RankedSearch(
        Client client,
        PointInTimeBuilder pit,
        Plan plan,
        IndexMethod method,
        float[] query,
        SearchSourceBuilder first,
        boolean byVectors
    ) {
        this.client = client;
        this.pit = pit;
        this.plan = plan;
        this.method = method;
        this.query = query;
        this.first = first;
        this.byVectors = byVectors;
        this.knn = byVectors && first.knnSearch().size() == 1 ? first.knnSearch().get(0) : null;
    }

    /** Runs all of them; `onFound` is told all documents that any search found, which aggregations are over. */
    void run(Consumer<RankDoc[]> onFound, ActionListener<RankedRetriever.Ranked> listener) {
        search(first, listener.delegateFailureAndWrap((l, hits) -> {
            List<Candidate> found = candidates(hits, true, byVectors);
            firstHits = byKey(found);
            rerank(found, l.delegateFailureAndWrap((ll, ranked) -> expand(ranked, ll.map(last -> {
                Map<Long, Candidate> all = byKey(last);
                all.putAll(firstHits);
                onFound.accept(Candidate.places(all.values()));
                return answer(last);
            }))));
        }));
    }

    private RankedRetriever.Ranked answer(List<Candidate> ranked) {
        List<Candidate> shown = ranked.subList(0, Math.min(plan.window, ranked.size()));
        Map<Long, FoundHits.Hit> hits = shown.stream().collect(Collectors.toMap(Candidate::key, Candidate::first));
        return new RankedRetriever.Ranked(Candidate.ranked(shown), new FoundHits(Vectors.levels(query), hits));
    }

    private void rerank(List<Candidate> found, ActionListener<List<Candidate>> listener) {
        if (plan.rerank == null || found.isEmpty()) {
            listener.onResponse(inWindows() ? found.stream().map(c -> c.byWindows(c.score())).toList() : found);
            return;
        }
        List<Candidate> window = found.subList(0, Math.min(plan.window, found.size()));
        List<Candidate> rest = found.subList(window.size(), found.size());
        ActionListener<List<Candidate>> joining = listener.map(compared -> {
            List<Candidate> all = new ArrayList<>(Candidate.bestFirst(compared));
            all.addAll(rest);
            return all;
        });
        if (plan.rerank.byWindows()) {
            compare(window, query, joining);
        } else {
            compareByService(window, joining);
        }
    }

    private boolean inWindows() {
        return knn != null && knn.getField().equals(BestWindow.VECTOR);
    }

    /** The best window of each document, exactly; those without windows keep their score. */
    private void compare(List<Candidate> hits, float[] vector, ActionListener<List<Candidate>> listener) {
        var exact = new ExactKnnQueryBuilder(VectorData.fromBytes(Vectors.levels(vector)), BestWindow.VECTOR, null);
        var windows = new NestedQueryBuilder(BestWindow.REGIONS, exact, ScoreMode.Max).ignoreUnmapped(true);
        var among = new BoolQueryBuilder().filter(new RankDocsQueryBuilder(Candidate.places(hits), null, true)).must(windows);
        search(source(hits.size()).query(among), listener.map(found -> {
            Map<Long, Candidate> compared = byKey(candidates(found, false, true));
            return hits.stream().map(c -> compared.containsKey(c.key()) ? c.byWindows(compared.get(c.key()).score()) : c).toList();
        }));
    }

    /** The best region of each document, which the service finds; one request an index. */
    private void compareByService(List<Candidate> hits, ActionListener<List<Candidate>> listener) {
        Searched searched = Describer.searched(client);
        Map<String, List<String>> ids = hits.stream()
            .collect(Collectors.groupingBy(Candidate::index, Collectors.mapping(Candidate::id, Collectors.toList())));
        var all = new GroupedActionListener<RegionScores>(ids.size(), listener.map(answers -> {
            Map<String, RegionScores> byIndex = answers.stream().collect(Collectors.toMap(RegionScores::index, Function.identity()));
            int missing = answers.stream().mapToInt(RegionScores::missing).sum();
            if (missing > 0) {
                HeaderWarning.addWarning(
                    "{} of {} hits keep their first score: their feature maps are not kept and "
                        + "their images cannot be read. Index them again.",
                    missing,
                    hits.size()
                );
            }
            return hits.stream().map(c -> byIndex.get(c.index()).applied(c)).toList();
        }));
        ids.forEach(
            (index, some) -> plan.image.describer()
                .rank(searched, plan.image.image(), index, some, plan.rerank, all.map(said -> {
                    method.check(String.valueOf(said.get("fingerprint")));
                    return RegionScores.of(index, said);
                }))
        );
    }

    private void expand(List<Candidate> ranked, ActionListener<List<Candidate>> listener) {
        if (plan.expand == null || ranked.isEmpty()) {
            listener.onResponse(ranked);
            return;
        }
        List<Candidate> near = ranked.subList(0, Math.min(method.expansion().hitsToRead(plan.expand.hits()), ranked.size()));
        var places = new RankDocsQueryBuilder(Candidate.places(near), null, true);
        var read = source(near.size()).query(places).docValueField(Describer.DESCRIPTOR);
        search(read, listener.delegateFailureAndWrap((l, hits) -> {
            Map<Long, float[]> vectors = new HashMap<>();
            for (SearchHit hit : hits) {
                if (hit.field(Describer.DESCRIPTOR) != null) {
                    vectors.put(Candidate.of(hit, 0, false).key(), Describer.descriptor(hit));
                }
            }
            List<float[]> found = near.stream().map(c -> vectors.get(c.key())).filter(v -> v != null && v.length == query.length).toList();
            if (found.isEmpty()) {
                l.onResponse(ranked);
            } else {
                searchAgain(method.expansion().expanded(query, found, plan.expand.hits(), plan.expand.alpha()), l);
            }
        }));
    }

    /** By windows as a gallery is searched: whole images give 1,000 hits, and windows decide. */
    private void searchAgain(float[] again, ActionListener<List<Candidate>> listener) {
        boolean wide = plan.rerank != null && plan.rerank.byWindows() && inWindows() == false;
        int k = wide ? Math.max(FIRST_DOCUMENTS, knn.k()) : knn.k();
        int candidates = wide ? Math.max(Math.max(WIDE_CANDIDATES, k), knn.getNumCands()) : knn.getNumCands();
        var vector = inWindows() ? VectorData.fromBytes(Vectors.levels(again)) : VectorData.fromFloats(again);
        KnnSearchBuilder search = new KnnSearchBuilder.Builder().field(knn.getField())
            .queryVector(vector)
            .k(k)
            .numCandidates(Math.min(candidates, MAX_HITS))
            .similarity(knn.getSimilarity())
            .rescoreVectorBuilder(knn.getRescoreVectorBuilder())
            .build(k);
        search.addFilterQueries(knn.getFilterQueries());
        search(source(k).knnSearch(List.of(search)), listener.delegateFailureAndWrap((l, hits) -> {
            List<Candidate> found = candidates(hits, false, true).stream().map(c -> c.again(firstHits.get(c.key()))).toList();
            ActionListener<List<Candidate>> ending = l.map(all -> {
                List<Candidate> sorted = Candidate.bestFirst(all);
                return sorted.subList(0, Math.min(knn.k(), sorted.size()));
            });
            if (wide && found.isEmpty() == false) {
                compare(found, again, ending);
            } else {
                ending.onResponse(inWindows() ? found.stream().map(c -> c.byWindows(c.score())).toList() : found);
            }
        }));
    }

    private static List<Candidate> candidates(SearchHit[] hits, boolean first, boolean byVectors) {
        List<Candidate> found = new ArrayList<>(hits.length);
        for (int i = 0; i < hits.length; i++) {
            found.add(Candidate.of(hits[i], first ? i + 1 : 0, byVectors));
        }
        return found;
    }

    private static Map<Long, Candidate> byKey(Collection<Candidate> candidates) {
        Map<Long, Candidate> found = new HashMap<>();
        candidates.forEach(c -> found.put(c.key(), c));
        return found;
    }

    private SearchSourceBuilder source(int size) {
        return new SearchSourceBuilder().pointInTimeBuilder(pit)
            .trackTotalHits(false)
            .fetchSource(false)
            .size(size)
            .sort(List.of(new ScoreSortBuilder(), new FieldSortBuilder(FieldSortBuilder.SHARD_DOC_FIELD_NAME)));
    }

    /**
     * All shards in one order, so that their numbers stay the same; a shard that fails fails the search.
     *
     * The listener may not keep the hits, which are released after it.
     */
    private void search(SearchSourceBuilder source, ActionListener<SearchHit[]> listener) {
        SearchRequest request = new SearchRequest().source(source);
        request.setPreFilterShardSize(Integer.MAX_VALUE);
        request.allowPartialSearchResults(false);
        client.execute(TransportSearchAction.TYPE, request, listener.map(response -> response.getHits().getHits()));
    }
}
