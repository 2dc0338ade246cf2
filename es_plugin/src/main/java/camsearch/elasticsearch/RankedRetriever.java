package camsearch.elasticsearch;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;

import org.elasticsearch.search.builder.SearchSourceBuilder;
import org.elasticsearch.search.rank.RankDoc;
import org.elasticsearch.search.retriever.RankDocsRetrieverBuilder;
import org.elasticsearch.search.retriever.RetrieverBuilder;

/** The last search: documents whose order is known, and what their fields say. */
final class RankedRetriever extends RankDocsRetrieverBuilder {
    /**
     * The result of the searches before.
     *
     * @param docs best first
     * @param found about each
     */
    record Ranked(RankDoc[] docs, FoundHits found) {}

    private final Supplier<Ranked> ranked;

    RankedRetriever(int window, RetrieverBuilder source, Supplier<Ranked> ranked, Float minScore) {
        super(window, List.of(source), () -> ranked.get().docs(), minScore);
        this.ranked = ranked;
    }

    @Override
    public void extractToSearchSourceBuilder(SearchSourceBuilder source, boolean compoundUsed) {
        super.extractToSearchSourceBuilder(source, compoundUsed);
        if (compoundUsed == false) { // within another retriever nobody sees the fields
            var ext = new ArrayList<>(source.ext());
            ext.add(ranked.get().found());
            source.ext(ext);
        }
    }
}
