package camsearch.elasticsearch;

import java.io.IOException;
import java.net.ProtocolException;
import java.net.URI;
import java.net.http.HttpConnectTimeoutException;
import java.net.http.HttpTimeoutException;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.CompletionException;

import javax.net.ssl.SSLException;

import org.elasticsearch.ElasticsearchStatusException;
import org.elasticsearch.rest.RestStatus;
import org.elasticsearch.xcontent.XContentParserConfiguration;
import org.elasticsearch.xcontent.XContentType;

/** What the service answered, or why it did not, as errors with a status. */
final class ServiceAnswer {
    /** Of docs/dialect.md: the paths and their JSON. */
    private static final int VERSION = 1;
    private static final String SEE_URL = "see whether camsearch.url is that of `camsearch serve`";

    private ServiceAnswer() {}

    /** The error for a request without an answer. */
    static Exception failure(URI service, Duration timeout, Throwable trouble) {
        Throwable cause = trouble instanceof CompletionException && trouble.getCause() != null ? trouble.getCause() : trouble;
        if (cause instanceof HttpTimeoutException && (cause instanceof HttpConnectTimeoutException) == false) {
            String what = "did not answer within " + timeout.toMillis() + " ms: raise camsearch.timeout, or see the service's load";
            return error(RestStatus.GATEWAY_TIMEOUT, what, service, cause);
        }
        if (cause instanceof ProtocolException) {
            return error(RestStatus.BAD_GATEWAY, "is not understood, " + cause.getMessage() + ": " + SEE_URL, service, cause);
        }
        if (cause instanceof SSLException) {
            String what = "is not trusted, or speaks no TLS: see camsearch.url and camsearch.certificate_authorities";
            return error(RestStatus.SERVICE_UNAVAILABLE, what, service, cause);
        }
        if (cause instanceof IOException) {
            String what = "cannot be reached: see whether it runs, and camsearch.url";
            return error(RestStatus.SERVICE_UNAVAILABLE, what, service, cause);
        }
        return error(RestStatus.INTERNAL_SERVER_ERROR, "could not be asked", service, cause);
    }

    /**
     * The fields of an answer.
     *
     * @throws ElasticsearchStatusException the service refused, or this is no answer of it
     */
    static Map<String, Object> read(URI service, int status, byte[] body) {
        Map<String, Object> said;
        try (var parser = XContentType.JSON.xContent().createParser(XContentParserConfiguration.EMPTY, body)) {
            said = parser.map();
        } catch (Exception error) { // Jackson's own exceptions are not exported
            throw error(RestStatus.BAD_GATEWAY, "answered " + status + " without JSON: " + SEE_URL, service, error);
        }
        if (status == 200) {
            if ((said.get("version") instanceof Number version && version.intValue() == VERSION) == false) {
                String what = "answers in version " + said.get("version") + ", not " + VERSION + ": install the plugin of its release";
                throw error(RestStatus.BAD_GATEWAY, what, service, null);
            }
            return said;
        }
        throw refused(service, status, reason(said));
    }

    private static ElasticsearchStatusException refused(URI service, int status, String reason) {
        if (status == 401 || status == 403) {
            return error(RestStatus.BAD_GATEWAY, "refused camsearch.api_key of the keystore: " + reason, service, null);
        }
        RestStatus known = RestStatus.fromCode(status);
        // Errors of the caller, and overload, are told as they are.
        if (known == null || (status >= 500 && known != RestStatus.SERVICE_UNAVAILABLE) || status < 400) {
            return error(RestStatus.BAD_GATEWAY, "answered " + status + ": " + reason, service, null);
        }
        return new ElasticsearchStatusException("camsearch: {}", known, reason);
    }

    private static String reason(Map<String, Object> said) {
        Object error = said.get("error");
        return String.valueOf(error instanceof Map<?, ?> map ? map.get("reason") : error);
    }

    private static ElasticsearchStatusException error(RestStatus status, String what, URI service, Throwable cause) {
        return new ElasticsearchStatusException("The camsearch service at [{}] {}.", status, cause, service, what);
    }

    /** For answers that lack what was asked for. */
    static ElasticsearchStatusException unexpected(String what) {
        String sentence = "The camsearch service answered without {}: see camsearch.url.";
        return new ElasticsearchStatusException(sentence, RestStatus.BAD_GATEWAY, what);
    }
}
