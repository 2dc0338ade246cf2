package camsearch.elasticsearch;

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpTimeoutException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Map;

import org.elasticsearch.ElasticsearchStatusException;
import org.elasticsearch.common.logging.LogConfigurator;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

class ServiceAnswerTests {
    private static final URI SERVICE = URI.create("http://service/");

    @BeforeAll
    static void loggingIsSetUp() {
        LogConfigurator.configureESLogging(); // else Elasticsearch's exceptions do not load
    }

    private static Map<String, Object> read(int status, String body) {
        return ServiceAnswer.read(SERVICE, status, body.getBytes(StandardCharsets.UTF_8));
    }

    private static String refusal(int expected, int status, String body) {
        var error = assertThrows(ElasticsearchStatusException.class, () -> read(status, body));
        assertEquals(expected, error.status().getStatus());
        return error.getMessage();
    }

    @Test
    void anAnswerOfThisVersionIsRead() {
        assertEquals(7, read(200, "{\"version\":1,\"x\":7}").get("x"));
    }

    @Test
    void anotherVersionIsRefused() {
        assertTrue(refusal(502, 200, "{\"version\":2}").contains("in version 2, not 1"));
        refusal(502, 200, "{}");
        refusal(502, 200, "<html>");
        refusal(502, 200, "[]");
    }

    @Test
    void errorsOfTheCallerKeepTheirStatusAndReason() {
        for (int status : new int[] { 400, 404, 409, 413, 429, 503 }) {
            assertTrue(refusal(status, status, "{\"error\":{\"reason\":\"It is cut off.\"}}").contains("It is cut off."));
        }
    }

    @Test
    void aKeyOfOursThatIsRefusedIsNoErrorOfTheCaller() {
        assertTrue(refusal(502, 401, "{\"error\":{\"reason\":\"no\"}}").contains("camsearch.api_key"));
        assertTrue(refusal(502, 403, "{\"error\":\"no\"}").contains("camsearch.api_key"));
    }

    @Test
    void itsOwnFaultsAreABadGateway() {
        for (int status : new int[] { 302, 500, 502, 599 }) {
            refusal(502, status, "{\"error\":{\"reason\":\"x\"}}");
        }
    }

    @Test
    void whatDoesNotAnswerHasAStatusToo() {
        assertEquals(504, status(new HttpTimeoutException("x")));
        assertEquals(503, status(new IOException("x")));
        assertEquals(500, status(new IllegalStateException("x")));
    }

    private static int status(Throwable trouble) {
        return ((ElasticsearchStatusException) ServiceAnswer.failure(SERVICE, Duration.ofSeconds(1), trouble)).status().getStatus();
    }
}
