package camsearch.elasticsearch;

import java.util.List;
import java.util.Map;

import org.junit.jupiter.api.Test;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

class OptionsTests {
    private static final IndexMethod WITH = new IndexMethod("i", "f", true, Expansion.of(Map.of()));
    private static final IndexMethod WITHOUT = new IndexMethod("i", "f", false, Expansion.of(Map.of()));

    @Test
    void windowsAreComparedWhereTheIndexHasThem() {
        assertEquals("windows", Rerank.of(true).in(WITH).by());
        assertEquals("maps", Rerank.of(Map.of()).in(WITHOUT).by());
        assertThrows(IllegalArgumentException.class, () -> Rerank.of(Map.of("by", "windows")).in(WITHOUT));
    }

    @Test
    void whatIsComparedMayBeSaid() {
        assertNull(Rerank.of(false));
        assertEquals(new Rerank("images", null), Rerank.of(Map.of("regions", false)));
        assertEquals(new Rerank("maps", 6), Rerank.of(Map.of("classes", 6)));
    }

    @Test
    void otherWordsAreRefused() {
        for (Object value : new Object[] {
            "maps",
            Map.of("by", "pixels"),
            Map.of("to", 1),
            Map.of("by", "maps", "regions", true),
            Map.of("by", "windows", "classes", 6),
            Map.of("classes", 0),
            Map.of("classes", 1.5) }) {
            assertThrows(IllegalArgumentException.class, () -> Rerank.of(value), String.valueOf(value));
        }
    }

    @Test
    void anExpansionTrustsTenHits() {
        assertNull(Expand.of(false));
        assertEquals(new Expand(10, 0), Expand.of(true));
        assertEquals(new Expand(3, .5), Expand.of(Map.of("hits", 3, "alpha", .5)));
    }

    @Test
    void otherNumbersAreRefused() {
        for (Object value : new Object[] { 5, Map.of("hits", 0), Map.of("hits", 101), Map.of("hits", 1.5), Map.of("alpha", -1), Map.of("n", 1) }) {
            assertThrows(IllegalArgumentException.class, () -> Expand.of(value), String.valueOf(value));
        }
    }

    @Test
    void scoresFallStrictlyAndUncomparedHitsComeLast() {
        var known = new FoundHits.Hit(7, 1, false, null);
        var hits = List.of(
            new Candidate(0, 5, "i", "a", .8f, known),
            new Candidate(0, 3, "i", "b", .8f, known),
            new Candidate(1, 1, "i", "c", Candidate.UNCOMPARED, known)
        );
        var docs = Candidate.ranked(hits);
        assertEquals(List.of(5, 3, 1), List.of(docs[0].doc, docs[1].doc, docs[2].doc));
        assertEquals(List.of(.8f, Math.nextDown(.8f), Math.nextDown(Math.nextDown(.8f))), List.of(docs[0].score, docs[1].score, docs[2].score));
    }
}
