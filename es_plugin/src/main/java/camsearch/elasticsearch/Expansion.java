package camsearch.elasticsearch;

import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;

/**
 * Query expansion: the query combined with its first hits, as descriptors/expansion.py has it.
 *
 * Source: docs/method.md section 5, docs/adr/0014; diffusion is Iscen et al. 2017 in closed form.
 *
 * @param neighbours K, nearest hits to which each hit is joined; 0 turns diffusion off
 * @param spread how far diffusion goes, 0..1
 * @param most hits that expand the query with diffusion
 */
record Expansion(int neighbours, double spread, int most) {
    /** Hits in the diffusion graph. */
    static final int GRAPH_HITS = 100;
    private static final int POWER = 3;

    /** From the settings of the re-ranking that an index stores; those of older indices lack some. */
    static Expansion of(Map<?, ?> regions) {
        return new Expansion(
            regions.get("expand_neighbours") instanceof Number number ? number.intValue() : 0,
            regions.get("expand_spread") instanceof Number number ? number.doubleValue() : 0.9,
            regions.get("expand_max") instanceof Number number ? number.intValue() : 20
        );
    }

    /** How many descriptors {@link #expanded} needs to expand with that many trusted hits. */
    int hitsToRead(int hits) {
        return neighbours > 0 ? Math.max(hits, GRAPH_HITS) : hits;
    }

    /**
     * The query vector of the second search.
     *
     * @param query unit vector
     * @param found descriptors of up to hitsToRead hits, best first
     * @param hits how many of them are trusted
     * @param alpha exponent of alpha-QE; 0 for plain QE
     * @return unit vector
     */
    float[] expanded(float[] query, List<float[]> found, int hits, double alpha) {
        if (neighbours == 0) {
            List<float[]> first = found.subList(0, Math.min(hits, found.size()));
            double[] weights = new double[first.size()];
            Arrays.fill(weights, 1);
            return sum(query, first, weights, alpha);
        }
        double[] reached = diffuse(query, found, hits);
        int[] best = IntStream.range(0, reached.length)
            .boxed()
            .sorted(Comparator.comparingDouble(i -> -reached[i]))
            .limit(Math.max(hits, most))
            .mapToInt(i -> i)
            .toArray();
        List<float[]> chosen = Arrays.stream(best).mapToObj(found::get).toList();
        return sum(query, chosen, Arrays.stream(best).mapToDouble(i -> reached[i]).toArray(), alpha);
    }

    private static float[] sum(float[] query, List<float[]> found, double[] weights, double alpha) {
        double[] sum = new double[query.length];
        Arrays.setAll(sum, i -> query[i]);
        for (int n = 0; n < found.size(); n++) {
            float[] one = found.get(n);
            double weight = Math.pow(Math.max(Vectors.dot(one, query), 0), alpha) * weights[n];
            for (int i = 0; i < sum.length; i++) {
                sum[i] += weight * one[i];
            }
        }
        double norm = Math.sqrt(Arrays.stream(sum).map(x -> x * x).sum());
        float[] unit = new float[sum.length];
        for (int i = 0; i < unit.length; i++) {
            unit[i] = (float) (sum[i] / norm);
        }
        return unit;
    }

    /** Scores in 0..1 of a random walk from the first hits over a graph of similar hits. */
    double[] diffuse(float[] query, List<float[]> found, int hits) {
        int count = found.size();
        double[][] system = joined(found);
        double[] root = Arrays.stream(system).mapToDouble(row -> Arrays.stream(row).sum()).map(d -> d > 0 ? 1 / Math.sqrt(d) : 0).toArray();
        for (int i = 0; i < count; i++) {
            for (int j = 0; j < count; j++) {
                system[i][j] = (i == j ? 1 : 0) - spread * root[i] * system[i][j] * root[j];
            }
        }
        double[] reached = new double[count];
        for (int i = 0; i < Math.min(hits, count); i++) {
            reached[i] = Math.pow(Math.max(Vectors.dot(found.get(i), query), 0), POWER);
        }
        solve(system, reached);
        double most = Math.max(Arrays.stream(reached).max().orElse(0), Float.MIN_NORMAL);
        return Arrays.stream(reached).map(x -> Math.max(x, 0) / most).toArray();
    }

    /** Similarities of hits of which either is among the other's nearest; 0 elsewhere. */
    private double[][] joined(List<float[]> found) {
        int count = found.size();
        double[][] alike = new double[count][count];
        for (int i = 0; i < count; i++) {
            for (int j = 0; j < i; j++) {
                alike[i][j] = alike[j][i] = Math.pow(Math.max(Vectors.dot(found.get(i), found.get(j)), 0), POWER);
            }
        }
        double[] least = Arrays.stream(alike).mapToDouble(row -> {
            double[] sorted = row.clone();
            Arrays.sort(sorted);
            return sorted[count - Math.min(neighbours, count)];
        }).toArray();
        double[][] joined = new double[count][count];
        for (int i = 0; i < count; i++) {
            for (int j = 0; j < count; j++) {
                joined[i][j] = alike[i][j] >= Math.min(least[i], least[j]) ? alike[i][j] : 0;
            }
        }
        return joined;
    }

    /** Gaussian elimination; the matrix is positive definite, so that no pivot is 0. */
    private static void solve(double[][] matrix, double[] values) {
        int count = values.length;
        for (int k = 0; k < count; k++) {
            for (int i = k + 1; i < count; i++) {
                double factor = matrix[i][k] / matrix[k][k];
                if (factor != 0) {
                    for (int j = k; j < count; j++) {
                        matrix[i][j] -= factor * matrix[k][j];
                    }
                    values[i] -= factor * values[k];
                }
            }
        }
        for (int i = count - 1; i >= 0; i--) {
            for (int j = i + 1; j < count; j++) {
                values[i] -= matrix[i][j] * values[j];
            }
            values[i] /= matrix[i][i];
        }
    }
}
