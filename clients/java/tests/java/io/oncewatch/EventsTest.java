package io.oncewatch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** What a server's answer becomes in the events: the vectors that all clients share. */
class EventsTest {
    private static final int VECTORS_MIN = 46;
    private static final List<String> FIELDS =
            List.of("outcome", "error", "http_status", "request_id", "read_units", "write_units");

    @RegisterExtension
    final Sidecar sidecar = new Sidecar();

    @Test
    void noVectorIsLeftOut() throws IOException {
        assertTrue(FingerprintTest.conformance("events.json").size() >= VECTORS_MIN);
    }

    static Stream<Arguments> vectors() throws IOException {
        List<Arguments> vectors = new ArrayList<>();
        for (JsonNode vector : FingerprintTest.conformance("events.json")) {
            for (Clients kind : Clients.values()) {
                vectors.add(Arguments.of(kind, vector.get("name").asText(), vector));
            }
        }
        return vectors.stream();
    }

    @ParameterizedTest(name = "{0}: {1}")
    @MethodSource("vectors")
    void vector(Clients kind, String name, JsonNode vector) throws Exception {
        Collector collector = sidecar.collector();
        boolean succeeded = true;
        try (DynamoStub stub = new DynamoStub()) {
            stub.script.add(step(vector.get("answer")));
            Duration limit = vector.at("/answer/failure").asText().equals("timeout") ? Duration.ofMillis(700) : null;
            kind.transact(stub.url, Clients.request("token"), Clients.attempts(1, limit));
        } catch (software.amazon.awssdk.core.exception.SdkException failed) {
            succeeded = false;
        }
        List<JsonNode> events = collector.await(3);
        assertEquals(List.of("attempt_start", "attempt_end", "call_end"), AttemptTest.texts(events, "type"));
        boolean otherwise = succeeded && vector.has("if_sdk_reports_success");
        JsonNode expected = otherwise ? vector.get("if_sdk_reports_success") : vector;
        Set<String> free = new TreeSet<>();
        vector.path("sdk_specific").forEach(field -> free.add(field.asText()));
        check(expected.get("attempt_end"), events.get(1), free);
        check(expected.get("call_end"), events.get(2), free);
    }

    private static DynamoStub.Step step(JsonNode answer) {
        Map<String, String> headers = new HashMap<>();
        answer.path("headers").properties().forEach(header -> headers.put(header.getKey(), header.getValue().asText()));
        String failure = answer.path("failure").asText(null);
        return new DynamoStub.Step(
                answer.path("status").asInt(), headers, answer.path("body").asText(), failure, 0);
    }

    private static void check(JsonNode expected, JsonNode event, Set<String> free) {
        for (String field : FIELDS) {
            if (!free.contains(field)) {
                assertEquals(value(expected.get(field)), value(event.get(field)), field + " of " + event);
            }
        }
    }

    private static Object value(JsonNode node) {
        return node == null ? null : node.isNumber() ? (Object) node.asDouble() : node.asText();
    }
}
