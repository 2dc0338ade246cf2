package camsearch.elasticsearch;

import java.util.Arrays;
import java.util.List;

/** Arithmetic of vectors, as galleries/documents.py has it. */
final class Vectors {
    private static final float MAX_LEVEL = 127;

    private Vectors() {}

    /**
     * A vector as whole numbers for a field of bytes; the largest is 127 or -127.
     *
     * @throws IllegalArgumentException it is zero
     */
    static byte[] levels(float[] vector) {
        float peak = 0;
        for (float one : vector) {
            peak = Math.max(peak, Math.abs(one));
        }
        if (peak == 0) {
            throw new IllegalArgumentException("The query image holds nothing to describe: choose another image or a larger box.");
        }
        float scale = MAX_LEVEL / peak;
        byte[] levels = new byte[vector.length];
        for (int i = 0; i < levels.length; i++) {
            levels[i] = (byte) Math.rint(vector[i] * scale);
        }
        return levels;
    }

    /** Bytes as the numbers that a query vector has. */
    static float[] ofLevels(byte[] levels) {
        float[] vector = new float[levels.length];
        for (int i = 0; i < vector.length; i++) {
            vector[i] = levels[i];
        }
        return vector;
    }

    /**
     * A vector from JSON, or as Elasticsearch returns the values of a field.
     *
     * @throws IllegalArgumentException it is no list of finite numbers
     */
    static float[] floats(Object value) {
        if (value instanceof float[] floats) {
            return floats;
        }
        List<?> numbers = value instanceof Object[] array ? Arrays.asList(array) : value instanceof List<?> list ? list : List.of();
        float[] vector = new float[numbers.size()];
        for (int i = 0; i < vector.length; i++) {
            if ((numbers.get(i) instanceof Number number && Float.isFinite(number.floatValue())) == false) {
                throw new IllegalArgumentException("not a vector");
            }
            vector[i] = ((Number) numbers.get(i)).floatValue();
        }
        if (vector.length == 0) {
            throw new IllegalArgumentException("not a vector");
        }
        return vector;
    }

    static double dot(float[] one, float[] other) {
        double sum = 0;
        for (int i = 0; i < one.length; i++) {
            sum += (double) one[i] * other[i];
        }
        return sum;
    }
}
