package camsearch.elasticsearch;

import java.util.List;
import java.util.Map;

import org.elasticsearch.common.Strings;
import org.elasticsearch.common.io.stream.BytesStreamOutput;
import org.elasticsearch.xcontent.json.JsonXContent;
import org.junit.jupiter.api.Test;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

class QueryImageTests {
    private static final Map<String, Object> DATA = Map.of("data", "c2VjcmV0");

    @Test
    void aBoxIsReadWithTheImage() {
        QueryImage image = QueryImage.of(Map.of("id", "a"), List.of(1, 2.5, 3, 4), 9);
        assertEquals(new QueryImage("id", "a", List.of(1.0, 2.5, 3.0, 4.0)), image);
        assertEquals("a", image.documentId());
        assertEquals(null, image.describedId());
    }

    @Test
    void whatIsNoImageIsRefused() {
        for (Object image : new Object[] { null, "x", Map.of(), Map.of("id", "a", "url", "b"), Map.of("file", "a"), Map.of("id", 1), Map.of("id", " ") }) {
            assertThrows(IllegalArgumentException.class, () -> QueryImage.of(image, null, 9), String.valueOf(image));
        }
    }

    @Test
    void whatIsNoBoxIsRefused() {
        for (Object box : new Object[] { "x", List.of(), List.of(1, 2, 3), List.of(1, 2, 1, 4), List.of(1, 2, 3, "4"), List.of(-1, 2, 3, 4) }) {
            assertThrows(IllegalArgumentException.class, () -> QueryImage.of(DATA, box, 9), String.valueOf(box));
        }
    }

    @Test
    void anImageMayHaveAsManyBytesAsAllowed() {
        assertEquals("c2VjcmV0", QueryImage.of(DATA, null, 6).value());
        var error = assertThrows(IllegalArgumentException.class, () -> QueryImage.of(DATA, null, 3));
        assertTrue(error.getMessage().contains("camsearch.max_image_size"), error.getMessage());
    }

    @Test
    void itsBytesAreNotShown() {
        QueryImage image = QueryImage.of(DATA, List.of(1, 2, 3, 4), 9);
        assertEquals("{\"image\":{\"data\":\"<8 characters>\"},\"box\":[1.0,2.0,3.0,4.0]}", Strings.toString(image));
        assertFalse(image.toString().contains("c2Vj"));
    }

    @Test
    void theServiceIsToldAll() throws Exception {
        try (var json = JsonXContent.contentBuilder()) {
            QueryImage.of(DATA, List.of(1, 2, 3, 4), 9).toService(json.startObject());
            assertEquals("{\"image\":{\"data\":\"c2VjcmV0\"},\"box\":[1.0,2.0,3.0,4.0]}", Strings.toString(json.endObject()));
        }
    }

    @Test
    void itIsTheSameOnAnotherNode() throws Exception {
        QueryImage image = QueryImage.of(DATA, List.of(1, 2, 3, 4), 9);
        try (var out = new BytesStreamOutput()) {
            image.writeTo(out);
            assertEquals(image, new QueryImage(out.bytes().streamInput()));
        }
    }
}
