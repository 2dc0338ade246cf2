package camsearch.elasticsearch;

import java.io.IOException;
import java.util.List;
import java.util.Map;

import org.apache.lucene.index.LeafReaderContext;
import org.apache.lucene.search.DocIdSetIterator;
import org.apache.lucene.search.Query;
import org.apache.lucene.search.ScoreMode;
import org.apache.lucene.search.Scorer;
import org.apache.lucene.search.Weight;
import org.apache.lucene.search.join.BitSetProducer;
import org.apache.lucene.util.BitSet;
import org.elasticsearch.common.lucene.search.Queries;
import org.elasticsearch.index.query.SearchExecutionContext;
import org.elasticsearch.search.fetch.FetchContext;
import org.elasticsearch.search.fetch.FetchSubPhase.HitContext;
import org.elasticsearch.search.lookup.SourceFilter;
import org.elasticsearch.search.vectors.ExactKnnQueryBuilder;
import org.elasticsearch.search.vectors.VectorData;

/**
 * The window of a document that is most similar to the query: for the hits of a page alone.
 *
 * The windows of a document stand before it in the index, in the order of the list in its source.
 */
final class BestWindow {
    static final String REGIONS = "regions";
    static final String VECTOR = "regions.vector";

    private static final SourceFilter BOXES = new SourceFilter(new String[] { "regions.box" }, null);

    private final Weight weight;
    private final BitSetProducer documents;
    private DocIdSetIterator windows;
    private Scorer scorer;
    private BitSet parents;

    private BestWindow(Weight weight, BitSetProducer documents) {
        this.weight = weight;
        this.documents = documents;
    }

    /** Null for an index without windows. */
    static BestWindow of(FetchContext context, byte[] levels) throws IOException {
        SearchExecutionContext index = context.getSearchExecutionContext();
        if (index.getFieldType(VECTOR) == null) {
            return null;
        }
        Query exact = new ExactKnnQueryBuilder(VectorData.fromBytes(levels), VECTOR, null).toQuery(index);
        var searcher = context.searcher();
        Weight weight = searcher.createWeight(searcher.rewrite(exact), ScoreMode.COMPLETE, 1);
        return new BestWindow(weight, index.bitsetFilter(Queries.newNonNestedFilter(index.indexVersionCreated())));
    }

    void setNextReader(LeafReaderContext leaf) throws IOException {
        scorer = weight.scorer(leaf);
        windows = scorer == null ? DocIdSetIterator.empty() : scorer.iterator();
        parents = documents.getBitSet(leaf);
    }

    /** x0, y0, x1, y1 in pixels of the image; null if it has no windows. Hits come in the order of the index. */
    List<?> box(HitContext hit) throws IOException {
        int doc = hit.docId();
        int first = doc == 0 ? 0 : parents.prevSetBit(doc - 1) + 1;
        int window = windows.docID() < first ? windows.advance(first) : windows.docID();
        int best = -1;
        float most = -1;
        for (int i = 0; window < doc; i++, window = windows.nextDoc()) {
            if (scorer.score() > most) {
                most = scorer.score();
                best = i;
            }
        }
        Object regions = best < 0 ? null : hit.source().filter(BOXES).source().get(REGIONS);
        boolean listed = regions instanceof List<?> list && best < list.size();
        return listed && ((List<?>) regions).get(best) instanceof Map<?, ?> region && region.get("box") instanceof List<?> box ? box : null;
    }
}
