package camsearch.elasticsearch;

import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * What the service found in the documents of an index.
 *
 * @param index its name
 * @param scores by id, (1 + cosine) / 2; hits without a region that is large enough have none
 * @param boxes by id, of the same hits
 * @param missing hits that could not be compared
 */
record RegionScores(String index, Map<String, Float> scores, Map<String, List<Double>> boxes, int missing) {
    static RegionScores of(String index, Map<String, Object> said) {
        Map<String, Float> scores = new HashMap<>();
        Map<String, List<Double>> boxes = new HashMap<>();
        for (var entry : ((Map<?, ?>) said.get("scores")).entrySet()) {
            if ((entry.getValue() instanceof Number number && Float.isFinite(number.floatValue())) == false) {
                throw ServiceAnswer.unexpected("numbers as scores");
            }
            scores.put(String.valueOf(entry.getKey()), ((Number) entry.getValue()).floatValue());
        }
        for (var entry : ((Map<?, ?>) said.get("boxes")).entrySet()) {
            if ((entry.getValue() instanceof List<?> list && list.stream().allMatch(one -> one instanceof Number)) == false) {
                throw ServiceAnswer.unexpected("numbers as boxes");
            }
            List<?> box = (List<?>) entry.getValue();
            boxes.put(String.valueOf(entry.getKey()), box.stream().map(one -> ((Number) one).doubleValue()).toList());
        }
        return new RegionScores(index, scores, boxes, said.get("missing") instanceof List<?> missing ? missing.size() : 0);
    }

    Candidate applied(Candidate hit) {
        Float score = scores.get(hit.id());
        return score == null ? hit : hit.byRegion(score, boxes.get(hit.id()));
    }
}
