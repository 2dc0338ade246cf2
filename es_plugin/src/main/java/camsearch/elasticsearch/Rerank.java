package camsearch.elasticsearch;

import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * How the first hits are re-ranked.
 *
 * @param by windows, maps or images; null for windows if the index has them, else maps
 * @param classes of the query that are compared; null for the settings' number
 */
record Rerank(String by, Integer classes) {
    static final String WINDOWS = "windows";

    private static final String MAPS = "maps";
    private static final List<String> KINDS = List.of(WINDOWS, MAPS, "images");
    private static final Set<String> KEYS = Set.of("by", "regions", "classes");

    /**
     * From the value of rerank.
     *
     * @return null for no re-ranking
     * @throws IllegalArgumentException it is not valid
     */
    static Rerank of(Object value) {
        if (value instanceof Boolean on) {
            return on ? new Rerank(null, null) : null;
        }
        if ((value instanceof Map<?, ?> given && KEYS.containsAll(given.keySet())) == false) {
            throw new IllegalArgumentException("[camsearch.rerank] must be true, false, or an object with [by] and [classes].");
        }
        Map<?, ?> given = (Map<?, ?>) value;
        String by = readBy(given);
        Object classes = given.get("classes");
        if (classes == null) {
            return new Rerank(by, null);
        }
        if (WINDOWS.equals(by)) {
            throw new IllegalArgumentException(
                "[camsearch.rerank.classes] does not apply to windows, which have their own classes: leave it out."
            );
        }
        if ((classes instanceof Integer count && count > 0) == false) {
            throw new IllegalArgumentException("[camsearch.rerank.classes] must be a whole number of at least 1.");
        }
        return new Rerank(by == null ? MAPS : by, (Integer) classes);
    }

    private static String readBy(Map<?, ?> given) {
        Object by = given.get("by");
        Object regions = given.get("regions");
        if (by != null && regions != null) {
            throw new IllegalArgumentException("[camsearch.rerank.by] and [camsearch.rerank.regions] exclude each other: give [by].");
        }
        if (regions instanceof Boolean on) { // how it was said before windows
            return on ? MAPS : "images";
        }
        if (regions != null || (by != null && KINDS.contains(by) == false)) {
            throw new IllegalArgumentException("[camsearch.rerank.by] must be \"windows\", \"maps\" or \"images\".");
        }
        return (String) by;
    }

    /**
     * What is compared in an index.
     *
     * @throws IllegalArgumentException windows, which the index has not
     */
    Rerank in(IndexMethod method) {
        if (WINDOWS.equals(by) && method.windows() == false) {
            throw new IllegalArgumentException(
                "[" + method.index() + "] has no windows: re-rank by \"maps\" or \"images\", or rebuild it with a method that has windows."
            );
        }
        return by == null ? new Rerank(method.windows() ? WINDOWS : MAPS, classes) : this;
    }

    boolean byWindows() {
        return WINDOWS.equals(by);
    }
}
