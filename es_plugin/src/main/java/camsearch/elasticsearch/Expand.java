package camsearch.elasticsearch;

import java.util.Map;
import java.util.Set;

/**
 * Whether to search again with an expanded query.
 *
 * @param hits first hits that are trusted
 * @param alpha exponent of alpha-QE; 0 for plain averaging
 */
record Expand(int hits, double alpha) {
    private static final int HITS = 10;
    private static final int MAX_HITS = 100;
    private static final Set<String> KEYS = Set.of("hits", "alpha");

    /**
     * From the value of expand.
     *
     * @return null for no expansion
     * @throws IllegalArgumentException it is not valid
     */
    static Expand of(Object value) {
        if (value instanceof Boolean on) {
            return on ? new Expand(HITS, 0) : null;
        }
        if ((value instanceof Map<?, ?> given && KEYS.containsAll(given.keySet())) == false) {
            throw new IllegalArgumentException("[camsearch.expand] must be true, false, or an object with [hits] and [alpha].");
        }
        Map<?, ?> given = (Map<?, ?>) value;
        Object hits = given.containsKey("hits") ? given.get("hits") : Integer.valueOf(HITS);
        Object alpha = given.containsKey("alpha") ? given.get("alpha") : Integer.valueOf(0);
        if ((hits instanceof Integer count && count >= 1 && count <= MAX_HITS) == false) {
            throw new IllegalArgumentException("[camsearch.expand.hits] must be a whole number from 1 to " + MAX_HITS + ".");
        }
        if ((alpha instanceof Number number && number.doubleValue() >= 0 && Double.isFinite(number.doubleValue())) == false) {
            throw new IllegalArgumentException("[camsearch.expand.alpha] must be a number of at least 0.");
        }
        return new Expand((Integer) hits, ((Number) alpha).doubleValue());
    }
}
