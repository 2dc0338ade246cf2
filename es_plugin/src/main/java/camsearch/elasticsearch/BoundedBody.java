package camsearch.elasticsearch;

import java.net.ProtocolException;
import java.net.http.HttpResponse.BodySubscriber;
import java.net.http.HttpResponse.BodySubscribers;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.Flow.Subscription;

/** The bytes of an answer, of which there may not be more than {@link #MAX_BYTES}. */
final class BoundedBody implements BodySubscriber<byte[]> {
    /** Vectors and the scores of 1,000 hits take much less. */
    static final int MAX_BYTES = 4 << 20;

    private final BodySubscriber<byte[]> bytes = BodySubscribers.ofByteArray();
    private Subscription subscription;
    private long received;

    @Override
    public CompletionStage<byte[]> getBody() {
        return bytes.getBody();
    }

    @Override
    public void onSubscribe(Subscription given) {
        subscription = given;
        bytes.onSubscribe(given);
    }

    @Override
    public void onNext(List<ByteBuffer> buffers) {
        received += buffers.stream().mapToLong(ByteBuffer::remaining).sum();
        if (received > MAX_BYTES) {
            subscription.cancel();
            bytes.onError(new ProtocolException("the answer has more than " + MAX_BYTES + " bytes"));
        } else {
            bytes.onNext(buffers);
        }
    }

    @Override
    public void onError(Throwable trouble) {
        bytes.onError(trouble);
    }

    @Override
    public void onComplete() {
        bytes.onComplete();
    }
}
