package camsearch.elasticsearch;

import java.util.List;
import java.util.Map;

import org.junit.jupiter.api.Test;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

class ExpansionTests {
    private static final float[] X = { 1, 0, 0 };
    private static final float[] Y = { 0, 1, 0 };
    private static final float[] BETWEEN = { .6f, .8f, 0 };

    @Test
    void withoutNeighboursTheFirstHitsAreAveraged() {
        float[] found = new Expansion(0, .9, 20).expanded(X, List.of(BETWEEN, Y), 1, 0);
        // (1.6, .8) over its length, 1.789
        assertArrayEquals(new float[] { .8944272f, .4472136f, 0 }, found, 1e-6f);
    }

    @Test
    void alphaWeighsByTheCosine() {
        float[] found = new Expansion(0, .9, 20).expanded(X, List.of(BETWEEN), 1, 1);
        // (1.36, .48) over its length, 1.442
        assertArrayEquals(new float[] { .9429903f, .3328201f, 0 }, found, 1e-6f);
    }

    @Test
    void aWalkReachesWhatOnlyTheFirstHitResembles() {
        double[] reached = new Expansion(1, .5, 20).diffuse(X, List.of(BETWEEN, Y), 1);
        // Two hits joined to each other: (I - .5 W) x = (.216, 0), W = [[0, 1], [1, 0]]
        assertArrayEquals(new double[] { 1, .5 }, reached, 1e-9);
    }

    @Test
    void nothingIsReachedFromAHitThatDoesNotResembleTheQuery() {
        assertArrayEquals(new double[] { 0, 0 }, new Expansion(1, .5, 20).diffuse(X, List.of(Y, BETWEEN), 1), 1e-9);
    }

    @Test
    void olderIndicesHaveNoDiffusion() {
        assertEquals(new Expansion(0, .9, 20), Expansion.of(Map.of()));
        assertEquals(5, Expansion.of(Map.of()).hitsToRead(5));
        assertEquals(100, new Expansion(5, .9, 20).hitsToRead(5));
    }
}
