package camsearch.elasticsearch;

import java.io.IOException;
import java.util.List;
import java.util.Map;

import org.elasticsearch.common.io.stream.StreamInput;
import org.elasticsearch.common.io.stream.StreamOutput;
import org.elasticsearch.common.io.stream.Writeable;
import org.elasticsearch.xcontent.ToXContentFragment;
import org.elasticsearch.xcontent.XContentBuilder;

/**
 * The image of a query, and the box to look for in it.
 *
 * @param source where the image is: data, id or url
 * @param value base64 of its file, the id of a document, or an address
 * @param box x0, y0, x1, y1 in pixels of the upright image, half-open; null for the whole image
 */
record QueryImage(String source, String value, List<Double> box) implements Writeable, ToXContentFragment {
    static final String IMAGE = "image";
    static final String BOX = "box";

    private static final String DATA = "data";
    private static final String ID = "id";
    private static final List<String> SOURCES = List.of(DATA, ID, "url");
    private static final int MAX_TEXT = 8191;

    QueryImage(StreamInput in) throws IOException {
        this(in.readString(), in.readString(), in.readOptionalCollectionAsList(StreamInput::readDouble));
    }

    /**
     * Checks what a request says.
     *
     * @param image the value of image
     * @param box the value of box, or null
     * @param maxBytes of an image's file
     * @throws IllegalArgumentException a value is not valid
     */
    static QueryImage of(Object image, Object box, long maxBytes) {
        if (!(image instanceof Map<?, ?> given)) {
            throw new IllegalArgumentException("[camsearch.image] must be an object with one of [data], [id] and [url].");
        }
        if (given.size() != 1 || SOURCES.contains(given.keySet().iterator().next()) == false) {
            throw new IllegalArgumentException(
                "[camsearch.image] must have exactly one of [data], [id] and [url], not " + given.keySet() + "."
            );
        }
        String source = (String) given.keySet().iterator().next();
        return new QueryImage(source, text(source, given.get(source), maxBytes), box == null ? null : readBox(box));
    }

    private static String text(String source, Object value, long maxBytes) {
        if ((value instanceof String) == false || ((String) value).isBlank()) {
            throw new IllegalArgumentException("[camsearch.image." + source + "] must be a text that is not empty.");
        }
        String text = (String) value;
        if (source.equals(DATA) == false && text.length() > MAX_TEXT) {
            throw new IllegalArgumentException("[camsearch.image." + source + "] must have at most " + MAX_TEXT + " characters.");
        }
        if (source.equals(DATA) && text.length() / 4 * 3L - 2 > maxBytes) {
            throw new IllegalArgumentException(
                "[camsearch.image.data] has more than the "
                    + maxBytes
                    + " bytes allowed: send a smaller image, or raise camsearch.max_image_size."
            );
        }
        return text;
    }

    private static List<Double> readBox(Object value) {
        if ((value instanceof List<?> list && list.size() == 4 && list.stream().allMatch(QueryImage::isCoordinate)) == false) {
            throw new IllegalArgumentException("[camsearch.box] must be [x0, y0, x1, y1], four pixels of the upright image.");
        }
        List<Double> box = ((List<?>) value).stream().map(one -> ((Number) one).doubleValue()).toList();
        if (box.get(2) <= box.get(0) || box.get(3) <= box.get(1)) {
            throw new IllegalArgumentException("[camsearch.box] is empty: give [x0, y0, x1, y1] with x0 < x1 and y0 < y1.");
        }
        return box;
    }

    private static boolean isCoordinate(Object value) {
        return value instanceof Number number && Double.isFinite(number.doubleValue()) && number.doubleValue() >= 0;
    }

    /** The id of a document whose indexed descriptor is the query; null if the image has to be described. */
    String describedId() {
        return source.equals(ID) && box == null ? value : null;
    }

    /** The id of the document that is the image; null for an image that is sent or fetched. */
    String documentId() {
        return source.equals(ID) ? value : null;
    }

    /** Writes image and box as the service reads them. */
    void toService(XContentBuilder body) throws IOException {
        body.startObject(IMAGE).field(source, value).endObject();
        if (box != null) {
            body.field(BOX, box);
        }
    }

    /** For tasks, slow logs and errors: without the bytes of the image. */
    @Override
    public XContentBuilder toXContent(XContentBuilder builder, Params params) throws IOException {
        String shown = source.equals(DATA) ? "<" + value.length() + " characters>" : value;
        builder.startObject(IMAGE).field(source, shown).endObject();
        return box == null ? builder : builder.field(BOX, box);
    }

    @Override
    public void writeTo(StreamOutput out) throws IOException {
        out.writeString(source);
        out.writeString(value);
        out.writeOptionalCollection(box, StreamOutput::writeDouble);
    }

    /** Does not show the image either. */
    @Override
    public String toString() {
        return source + ", " + value.length() + " characters";
    }
}
