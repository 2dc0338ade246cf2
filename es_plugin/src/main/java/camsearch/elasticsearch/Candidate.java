package camsearch.elasticsearch;

import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.List;

import org.elasticsearch.search.SearchHit;
import org.elasticsearch.search.rank.RankDoc;
import org.elasticsearch.search.sort.ShardDocSortField;

/**
 * A hit between the stages of a search, as reranker/candidates.py has it.
 *
 * @param shard of the search, and doc in it
 * @param index and id, if the search asked for them
 * @param score in 0..1; {@link #UNCOMPARED} if it is no cosine, as in a search by text
 * @param first what the first search said
 */
record Candidate(int shard, int doc, String index, String id, float score, FoundHits.Hit first) {
    static final float UNCOMPARED = Float.NEGATIVE_INFINITY;

    /**
     * A hit of a search that sorted by score and place.
     *
     * @param rank from 1; 0 for a hit that only the expansion found
     * @param byVectors whether its score is a cosine
     */
    static Candidate of(SearchHit hit, int rank, boolean byVectors) {
        Object[] sort = hit.getRawSortValues();
        long place = (long) sort[sort.length - 1];
        return new Candidate(
            ShardDocSortField.decodeShardRequestIndex(place),
            ShardDocSortField.decodeDoc(place),
            hit.getIndex(),
            hit.getId(),
            byVectors ? hit.getScore() : UNCOMPARED,
            new FoundHits.Hit(hit.getScore(), rank, false, null)
        );
    }

    long key() {
        return FoundHits.key(shard, doc);
    }

    /** With the score of its best window, which is its box. */
    Candidate byWindows(float score) {
        return new Candidate(shard, doc, index, id, score, new FoundHits.Hit(first.firstScore(), first.firstRank(), true, null));
    }

    /** With the score of its best region, and its box. */
    Candidate byRegion(float score, List<Double> box) {
        return new Candidate(shard, doc, index, id, score, new FoundHits.Hit(first.firstScore(), first.firstRank(), false, box));
    }

    /** Found again: with its new score, and what the first search said. */
    Candidate again(Candidate before) {
        return before == null ? this : new Candidate(shard, doc, index, id, score, before.first);
    }

    /** Best first; equal ones in their order. */
    static List<Candidate> bestFirst(Collection<Candidate> candidates) {
        List<Candidate> sorted = new ArrayList<>(candidates);
        sorted.sort(Comparator.comparingDouble(c -> -c.score));
        return sorted;
    }

    /**
     * As Elasticsearch sorts them again by score.
     *
     * Scores are made to fall strictly, by their last digit, since it would order equal ones by
     * place. Hits without a comparable score, which come last, get that of the hit before them.
     */
    static RankDoc[] ranked(List<Candidate> candidates) {
        RankDoc[] docs = new RankDoc[candidates.size()];
        boolean compared = candidates.stream().anyMatch(c -> c.score != UNCOMPARED);
        float before = Float.POSITIVE_INFINITY;
        for (int i = 0; i < docs.length; i++) {
            Candidate c = candidates.get(i);
            float own = c.score == UNCOMPARED ? (compared ? before : c.first.firstScore()) : c.score;
            before = Math.max(Math.min(own, Math.nextDown(before)), 0);
            docs[i] = new RankDoc(c.doc, before, c.shard);
            docs[i].rank = i + 1;
        }
        return docs;
    }

    /** For a query over these documents, whose scores and order do not count. */
    static RankDoc[] places(Collection<Candidate> candidates) {
        return candidates.stream().map(c -> new RankDoc(c.doc, 0, c.shard)).toArray(RankDoc[]::new);
    }
}
