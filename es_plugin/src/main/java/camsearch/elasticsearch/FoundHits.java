package camsearch.elasticsearch;

import java.io.IOException;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;

import org.elasticsearch.TransportVersion;
import org.elasticsearch.common.io.stream.StreamInput;
import org.elasticsearch.common.io.stream.StreamOutput;
import org.elasticsearch.common.io.stream.Writeable;
import org.elasticsearch.search.SearchExtBuilder;
import org.elasticsearch.xcontent.XContentBuilder;

/** What was found out about each hit, on its way to the shards, which write the fields of hits. */
final class FoundHits extends SearchExtBuilder {
    static final String NAME = "camsearch_found_hits";

    /**
     * What was found out about a hit.
     *
     * @param firstScore in the first search
     * @param firstRank in the first search, from 1; 0 for a hit that only the expansion found
     * @param byWindows whether its windows were compared, so that the best one is its box
     * @param box x0, y0, x1, y1 in its pixels, if the service gave one; else null
     */
    record Hit(float firstScore, int firstRank, boolean byWindows, List<Double> box) implements Writeable {
        Hit(StreamInput in) throws IOException {
            this(in.readFloat(), in.readVInt(), in.readBoolean(), in.readOptionalCollectionAsList(StreamInput::readDouble));
        }

        @Override
        public void writeTo(StreamOutput out) throws IOException {
            out.writeFloat(firstScore);
            out.writeVInt(firstRank);
            out.writeBoolean(byWindows);
            out.writeOptionalCollection(box, StreamOutput::writeDouble);
        }
    }

    private final byte[] levels;
    private final Map<Long, Hit> hits;

    /**
     * @param levels of the query's vector, compared with windows
     * @param hits by {@link #key}
     */
    FoundHits(byte[] levels, Map<Long, Hit> hits) {
        this.levels = levels;
        this.hits = hits;
    }

    FoundHits(StreamInput in) throws IOException {
        this(in.readByteArray(), in.readMap(StreamInput::readLong, Hit::new));
    }

    /** Shards and documents as one number. */
    static long key(int shard, int doc) {
        return ((long) shard << 32) | doc;
    }

    byte[] levels() {
        return levels;
    }

    Hit hit(int shard, int doc) {
        return hits.get(key(shard, doc));
    }

    @Override
    public void writeTo(StreamOutput out) throws IOException {
        out.writeByteArray(levels);
        out.writeMap(hits, StreamOutput::writeLong, (o, hit) -> hit.writeTo(o));
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
    public XContentBuilder toXContent(XContentBuilder builder, Params params) throws IOException {
        return builder.startObject(NAME).field("hits", hits.size()).endObject();
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof FoundHits that && Arrays.equals(levels, that.levels) && hits.equals(that.hits);
    }

    @Override
    public int hashCode() {
        return Objects.hash(Arrays.hashCode(levels), hits);
    }
}
