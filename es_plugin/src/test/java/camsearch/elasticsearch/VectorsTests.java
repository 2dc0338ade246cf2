package camsearch.elasticsearch;

import java.util.List;

import org.junit.jupiter.api.Test;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

class VectorsTests {
    @Test
    void theLargestLevelIs127AndHalvesAreRoundedToEven() {
        assertArrayEquals(new byte[] { -127, 64, 0 }, Vectors.levels(new float[] { -.5f, .25f, 0 }));
    }

    @Test
    void aZeroVectorHasNoLevels() {
        assertThrows(IllegalArgumentException.class, () -> Vectors.levels(new float[3]));
    }

    @Test
    void numbersOfJsonAreAVector() {
        assertArrayEquals(new float[] { 1, .5f }, Vectors.floats(List.of(1, .5)));
    }

    @Test
    void otherValuesAreNoVector() {
        for (Object value : new Object[] { null, "x", List.of(), List.of("1"), List.of(Double.NaN), List.of(1e99) }) {
            assertThrows(IllegalArgumentException.class, () -> Vectors.floats(value));
        }
    }
}
