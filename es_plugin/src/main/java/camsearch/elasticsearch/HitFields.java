package camsearch.elasticsearch;

import java.io.IOException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

import org.apache.lucene.index.LeafReaderContext;
import org.elasticsearch.common.document.DocumentField;
import org.elasticsearch.search.fetch.FetchContext;
import org.elasticsearch.search.fetch.FetchSubPhase;
import org.elasticsearch.search.fetch.FetchSubPhaseProcessor;
import org.elasticsearch.search.fetch.StoredFieldsSpec;

/** Writes camsearch.box, first_score and first_rank into the fields of the hits that are returned. */
final class HitFields implements FetchSubPhase {
    @Override
    public FetchSubPhaseProcessor getProcessor(FetchContext context) throws IOException {
        if ((context.getSearchExt(FoundHits.NAME) instanceof FoundHits) == false) {
            return null;
        }
        FoundHits found = (FoundHits) context.getSearchExt(FoundHits.NAME);
        int shard = context.getSearchExecutionContext().getShardRequestIndex();
        BestWindow best = BestWindow.of(context, found.levels());
        return new FetchSubPhaseProcessor() {
            @Override
            public void setNextReader(LeafReaderContext leaf) throws IOException {
                if (best != null) {
                    best.setNextReader(leaf);
                }
            }

            @Override
            public void process(HitContext hit) throws IOException {
                FoundHits.Hit known = found.hit(shard, hit.hit().docId());
                // A hit within a hit has numbers of its own.
                if (known != null && hit.hit().getNestedIdentity() == null) {
                    List<?> box = known.byWindows() && best != null ? best.box(hit) : known.box();
                    hit.hit().addDocumentFields(fields(known, box), Map.of());
                }
            }

            @Override
            public StoredFieldsSpec storedFieldsSpec() {
                return best == null ? StoredFieldsSpec.NO_REQUIREMENTS : StoredFieldsSpec.NEEDS_SOURCE;
            }
        };
    }

    private static Map<String, DocumentField> fields(FoundHits.Hit known, List<?> box) {
        Map<String, DocumentField> fields = new HashMap<>();
        if (known.firstRank() > 0) {
            put(fields, "first_score", List.of(known.firstScore()));
            put(fields, "first_rank", List.of(known.firstRank()));
        }
        if (box != null) {
            put(fields, "box", new ArrayList<>(box));
        }
        return fields;
    }

    private static void put(Map<String, DocumentField> fields, String name, List<Object> values) {
        fields.put("camsearch." + name, new DocumentField("camsearch." + name, values));
    }
}
