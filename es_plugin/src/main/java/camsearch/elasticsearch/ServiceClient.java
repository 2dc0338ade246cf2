package camsearch.elasticsearch;

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.Map;
import java.util.regex.Pattern;

import javax.net.ssl.SSLContext;

import org.elasticsearch.action.ActionListener;
import org.elasticsearch.action.ActionRunnable;
import org.elasticsearch.action.support.ContextPreservingActionListener;
import org.elasticsearch.common.bytes.BytesReference;
import org.elasticsearch.common.settings.SecureString;
import org.elasticsearch.core.TimeValue;
import org.elasticsearch.tasks.CancellableTask;
import org.elasticsearch.tasks.Task;
import org.elasticsearch.threadpool.ThreadPool;
import org.elasticsearch.xcontent.XContentBuilder;
import org.elasticsearch.xcontent.json.JsonXContent;

/** Asks the service over HTTP; no thread waits for its answer. */
final class ServiceClient {
    private static final Duration CONNECT = Duration.ofSeconds(2);
    private static final Pattern PLAIN = Pattern.compile("[\\x21-\\x7e]{1,128}");

    /** Writes the fields of a request's body. */
    interface Body {
        void writeTo(XContentBuilder body) throws IOException;
    }

    private final URI service;
    private volatile Duration timeout;
    private final String authorization;
    private final ThreadPool threads;
    private final HttpClient client;

    /**
     * @param service address, with a slash at its end
     * @param key API key; empty for none
     * @param tls whom to trust; null for the authorities that Java trusts
     */
    ServiceClient(URI service, SecureString key, SSLContext tls, ThreadPool threads) {
        this.service = service;
        this.authorization = key.length() == 0 ? null : "ApiKey " + key;
        this.threads = threads;
        HttpClient.Builder building = HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_1_1)
            .connectTimeout(CONNECT)
            .executor(threads.generic());
        this.client = (tls == null ? building : building.sslContext(tls)).build();
    }

    void timeout(TimeValue given) {
        timeout = Duration.ofMillis(given.millis());
    }

    /**
     * Sends a request; fails with what {@link ServiceAnswer} makes of errors.
     *
     * @param path below the service's address
     * @param body of the request
     * @param task that ends the request when it is cancelled; may be null
     * @param listener called with the answer, in the caller's thread context
     */
    void post(String path, Body body, Task task, ActionListener<Map<String, Object>> listener) {
        HttpRequest request;
        try {
            request = request(path, body);
        } catch (IOException error) {
            listener.onFailure(error);
            return;
        }
        var back = ContextPreservingActionListener.wrapPreservingContext(listener, threads.getThreadContext());
        var answering = client.sendAsync(request, limited -> new BoundedBody());
        if (task instanceof CancellableTask cancellable) {
            cancellable.addListener(() -> answering.cancel(true));
        }
        // Not on the client's own thread, and `wrap` tells the listener if the pool refuses.
        answering.whenComplete(
            (answer, trouble) -> threads.executor(ThreadPool.Names.SEARCH_COORDINATION)
                .execute(ActionRunnable.wrap(back, l -> l.onResponse(read(task, answer, trouble))))
        );
    }

    private Map<String, Object> read(Task task, HttpResponse<byte[]> answer, Throwable trouble) throws Exception {
        if (task instanceof CancellableTask cancellable) {
            cancellable.ensureNotCancelled();
        }
        if (trouble != null) {
            throw ServiceAnswer.failure(service, timeout, trouble);
        }
        return ServiceAnswer.read(service, answer.statusCode(), answer.body());
    }

    private HttpRequest request(String path, Body body) throws IOException {
        HttpRequest.Builder building = HttpRequest.newBuilder(service.resolve(path))
            .timeout(timeout)
            .header("Content-Type", "application/json")
            .header("Accept", "application/json")
            .POST(BodyPublishers.ofByteArray(written(body)));
        if (authorization != null) {
            building.header("Authorization", authorization);
        }
        String opaque = threads.getThreadContext().getHeader(Task.X_OPAQUE_ID_HTTP_HEADER);
        if (opaque != null && PLAIN.matcher(opaque).matches()) {
            building.header(Task.X_OPAQUE_ID_HTTP_HEADER, opaque);
        }
        return building.build();
    }

    private static byte[] written(Body body) throws IOException {
        try (XContentBuilder json = JsonXContent.contentBuilder()) {
            json.startObject();
            body.writeTo(json);
            return BytesReference.toBytes(BytesReference.bytes(json.endObject()));
        }
    }
}
