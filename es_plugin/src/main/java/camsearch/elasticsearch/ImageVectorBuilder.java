package camsearch.elasticsearch;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.function.Supplier;

import org.elasticsearch.TransportVersion;
import org.elasticsearch.action.ActionListener;
import org.elasticsearch.action.support.SubscribableListener;
import org.elasticsearch.client.internal.Client;
import org.elasticsearch.common.io.stream.StreamInput;
import org.elasticsearch.common.io.stream.StreamOutput;
import org.elasticsearch.common.util.concurrent.EsExecutors;
import org.elasticsearch.core.CheckedSupplier;
import org.elasticsearch.search.vectors.QueryVectorBuilder;
import org.elasticsearch.xcontent.XContentBuilder;
import org.elasticsearch.xcontent.XContentParser;

/** The query vector builder camsearch: an image in the place of a vector. */
final class ImageVectorBuilder implements QueryVectorBuilder {
    static final String NAME = "camsearch";

    private static final String WINDOWS = "windows";
    private static final Set<String> KEYS = Set.of(QueryImage.IMAGE, QueryImage.BOX, WINDOWS);
    // A knn retriever does not tell of its builder, so that the retriever around it listens here.
    private static final ThreadLocal<List<ImageVectorBuilder>> PARSED = new ThreadLocal<>();

    private final QueryImage image;
    private final boolean windows;
    private final Supplier<Describer> describer;
    private SubscribableListener<float[]> vector;

    ImageVectorBuilder(QueryImage image, boolean windows, Supplier<Describer> describer) {
        this.image = image;
        this.windows = windows;
        this.describer = describer;
    }

    ImageVectorBuilder(StreamInput in, Supplier<Describer> describer) throws IOException {
        this(new QueryImage(in), in.readBoolean(), describer);
    }

    /**
     * Reads a builder.
     *
     * @param maxBytes of an image's file
     * @throws IllegalArgumentException it is not valid
     */
    static ImageVectorBuilder parse(XContentParser parser, long maxBytes, Supplier<Describer> describer) {
        try {
            return read(parser, maxBytes, describer);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static ImageVectorBuilder read(XContentParser parser, long maxBytes, Supplier<Describer> describer) throws IOException {
        if (parser.currentToken() == XContentParser.Token.FIELD_NAME) {
            parser.nextToken(); // Elasticsearch hands it over at its name
        }
        Map<String, Object> said = parser.map();
        for (String key : said.keySet()) {
            if (KEYS.contains(key) == false) {
                throw new IllegalArgumentException("[camsearch] has no key [" + key + "]: use [image], [box] and [windows].");
            }
        }
        QueryImage image = QueryImage.of(said.get(QueryImage.IMAGE), said.get(QueryImage.BOX), maxBytes);
        if (said.getOrDefault(WINDOWS, false) instanceof Boolean windows) {
            var made = new ImageVectorBuilder(image, windows, describer);
            if (PARSED.get() != null) {
                PARSED.get().add(made);
            }
            return made;
        }
        throw new IllegalArgumentException("[camsearch.windows] must be true for a field of windows, and false or absent for descriptors.");
    }

    /** The builders that are parsed within, which those around it are told of, too. */
    static <T> T noting(List<ImageVectorBuilder> parsed, CheckedSupplier<T, IOException> parse) throws IOException {
        List<ImageVectorBuilder> around = PARSED.get();
        PARSED.set(parsed);
        try {
            return parse.get();
        } finally {
            PARSED.set(around);
            if (around != null) {
                around.addAll(new ArrayList<>(parsed));
            }
        }
    }

    QueryImage image() {
        return image;
    }

    Describer describer() {
        return describer.get();
    }

    boolean sameImage(ImageVectorBuilder other) {
        return image.equals(other.image);
    }

    @Override
    public void buildVector(Client client, ActionListener<float[]> listener) {
        describe(client, windows ? listener.map(unit -> Vectors.ofLevels(Vectors.levels(unit))) : listener);
    }

    /** The unit vector; a knn and the retrievers around it share this builder, and the image is described once. */
    void describe(Client client, ActionListener<float[]> listener) {
        boolean first;
        SubscribableListener<float[]> described;
        synchronized (this) {
            first = vector == null;
            vector = first ? new SubscribableListener<>() : vector;
            described = vector;
        }
        described.addListener(listener, EsExecutors.DIRECT_EXECUTOR_SERVICE, client.threadPool().getThreadContext());
        if (first) {
            describer.get().describe(client, image, described);
        }
    }

    @Override
    public String getWriteableName() {
        return NAME;
    }

    @Override
    public TransportVersion getMinimalSupportedVersion() {
        return TransportVersion.fromId(0); // every version that has the plugin
    }

    @Override
    public void writeTo(StreamOutput out) throws IOException {
        image.writeTo(out);
        out.writeBoolean(windows);
    }

    @Override
    public XContentBuilder toXContent(XContentBuilder builder, Params params) throws IOException {
        image.toXContent(builder.startObject(), params);
        return (windows ? builder.field(WINDOWS, true) : builder).endObject();
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof ImageVectorBuilder that && image.equals(that.image) && windows == that.windows;
    }

    @Override
    public int hashCode() {
        return Objects.hash(image, windows);
    }
}
