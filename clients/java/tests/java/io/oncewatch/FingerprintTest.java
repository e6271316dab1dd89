package io.oncewatch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class FingerprintTest {
    private static final int VECTORS = 79;

    static JsonNode conformance(String file) throws IOException {
        return new ObjectMapper().readTree(Path.of("../conformance", file).toFile()).get("vectors");
    }

    @Test
    void noVectorIsLeftOut() throws IOException {
        assertEquals(VECTORS, conformance("fingerprints.json").size());
    }

    @TestFactory
    Stream<DynamicTest> vectors() throws IOException {
        List<DynamicTest> tests = new ArrayList<>();
        for (JsonNode vector : conformance("fingerprints.json")) {
            tests.add(DynamicTest.dynamicTest(vector.get("name").asText(), () -> check(vector)));
        }
        return tests.stream();
    }

    private static void check(JsonNode vector) {
        byte[] body = vector.has("body_base64")
                ? Base64.getDecoder().decode(vector.get("body_base64").asText())
                : text(vector, "body").getBytes(StandardCharsets.UTF_8);
        String tokenField = string(vector, "token_field");
        List<String> ignored = new ArrayList<>();
        vector.get("ignored_fields").forEach(field -> ignored.add(field.asText()));

        Fingerprint found = Fingerprint.of(vector.get("api").asText(), body, tokenField, ignored);

        assertEquals(string(vector, "fp"), found.fp(), "fp");
        assertEquals(string(vector, "fp_raw"), found.fpRaw(), "fp_raw");
        assertEquals(string(vector, "token"), found.token(), "token");
        byte[] canonical = body.length > Fingerprint.BODY_BYTES_MAX ? null : Fingerprint.canonical(body, tokenField, ignored);
        String written = canonical == null ? null : new String(canonical, StandardCharsets.UTF_8);
        assertEquals(text(vector, "canonical"), written, "canonical");
    }

    private static String string(JsonNode vector, String name) {
        JsonNode value = vector.get(name);
        return value == null || value.isNull() ? null : value.asText();
    }

    private static String text(JsonNode vector, String name) {
        if (!vector.has(name + "_parts")) {
            return string(vector, name);
        }
        StringBuilder text = new StringBuilder();
        vector.get(name + "_parts").forEach(part -> text.append(part.get(0).asText().repeat(part.get(1).asInt())));
        return text.toString();
    }

    @Test
    void keysOutsideTheBasicPlaneSortBehindAllOthers() {
        String body = "{\"\uD83D\uDE00\":1,\"\uFB01\":2,\"\uD83D\uDE00a\":3}";
        byte[] canonical = Fingerprint.canonical(body.getBytes(StandardCharsets.UTF_8), null, List.of());
        assertEquals("{\"\uFB01\":2,\"\uD83D\uDE00\":1,\"\uD83D\uDE00a\":3}", new String(canonical, StandardCharsets.UTF_8));
    }

    @ParameterizedTest
    @ValueSource(strings = {"[", "{\"a\":"})
    void aTokenIsFoundAtAnyDepth(String opening) {
        assertNotNull(nested(opening, Json.LEVELS_MAX - 1, "x").fp());
        for (int levels : new int[] {Json.LEVELS_MAX, 1_000_000}) {
            Fingerprint found = nested(opening, levels, "x");
            assertNull(found.fp());
            assertEquals("x", found.token());
            assertEquals(found.fpRaw(), nested(opening, levels, "y").fpRaw());
        }
    }

    private static Fingerprint nested(String opening, int levels, String token) {
        String closing = opening.equals("[") ? "]" : "}";
        String body = "{\"a\":" + opening.repeat(levels) + "\"]}\\\"\"" + closing.repeat(levels) + ",\"t\":\"" + token + "\"}";
        return Fingerprint.of("a", body.getBytes(StandardCharsets.UTF_8), "t", List.of());
    }

    /** Half of what the machine gives a thread that asks for nothing. */
    @Test
    void theLevelsFitIntoASmallStack() throws InterruptedException {
        AtomicReference<Object> found = new AtomicReference<>();
        Runnable hash = () -> found.set(nested("{\"a\":", Json.LEVELS_MAX - 1, "x").fp());
        Thread thread = new Thread(null, hash, "small", 512 * 1024);
        thread.setUncaughtExceptionHandler((ignored, failure) -> found.set(failure));
        thread.start();
        thread.join();
        assertInstanceOf(String.class, found.get());
    }
}
