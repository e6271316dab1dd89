package io.oncewatch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanContext;
import io.opentelemetry.api.trace.TraceFlags;
import io.opentelemetry.api.trace.TraceState;
import io.opentelemetry.context.Scope;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The API for everything that is not DynamoDB, and the limits of the wire protocol. */
class AttemptTest {
    private static final Map<String, Integer> LIMITS = Map.of(
            "api", 128, "token", 512, "call", 64, "fp", 64, "fp_raw", 64, "client", 128, "scope", 256, "error", 128,
            "request_id", 128);

    @RegisterExtension
    final Sidecar sidecar = new Sidecar();

    static String text(JsonNode event, String name) {
        return event.has(name) ? event.get(name).asText() : null;
    }

    static List<String> texts(List<JsonNode> events, String name) {
        return events.stream().map(event -> String.valueOf(text(event, name))).toList();
    }

    @Test
    void oneAttemptIsACallOfItsOwn() throws Exception {
        Collector collector = sidecar.collector();
        double before = System.currentTimeMillis() / 1000.0 - 0.01;
        byte[] body = "{\"amount\":1}".getBytes(StandardCharsets.UTF_8);
        Attempt attempt = Oncewatch.begin("stripe", "key-1", o -> o.body(body).scope("acct_1").maxAttempts(3));
        Fingerprint expected = Fingerprint.of("stripe", body, null, List.of());
        Arrays.fill(body, (byte) ' ');
        attempt.end(Outcome.OK, a -> a.httpStatus(200).requestId("req_1").readUnits(2).writeUnits(0.5));
        attempt.end(Outcome.ERROR);
        attempt.close();
        attempt.endCall();

        List<JsonNode> events = collector.await(3);
        JsonNode start = events.get(0);
        JsonNode end = events.get(1);
        JsonNode over = events.get(2);
        assertEquals(List.of("attempt_start", "attempt_end", "call_end"), texts(events, "type"));
        assertEquals(expected.fp(), text(start, "fp"));
        assertEquals(expected.fpRaw(), text(start, "fp_raw"));
        assertEquals("acct_1", text(start, "scope"));
        assertEquals("stripe", text(start, "api"));
        assertEquals("caller", text(start, "token_origin"));
        assertEquals(1, start.get("attempt").asInt());
        assertEquals(3, start.get("max_attempts").asInt());
        assertEquals(ClientName.ofThisProcess(), text(start, "client"));
        assertTrue(start.get("at").asDouble() >= before && start.get("at").asDouble() <= before + 5, start.toString());
        assertEquals("ok", text(end, "outcome"));
        assertEquals(200, end.get("http_status").asInt());
        assertEquals("req_1", text(end, "request_id"));
        assertEquals(2, end.get("read_units").asDouble());
        assertEquals(0.5, end.get("write_units").asDouble());
        assertTrue(end.get("duration_ms").asDouble() < 5000);
        assertFalse(end.has("fp"));
        assertEquals(1, over.get("attempts").asInt());
        assertEquals("ok", text(over, "outcome"));
        assertEquals(1, texts(events, "call").stream().distinct().count());
    }

    @Test
    void severalAttemptsOfOneCall() throws Exception {
        Collector collector = sidecar.collector();
        Attempt first = Oncewatch.begin("stripe", "key", o -> o.call("c1").fp("f".repeat(32)));
        first.end(Outcome.NO_RESPONSE);
        Attempt second = Oncewatch.begin("stripe", "key", o -> o.call("c1").attempt(2).fp("f".repeat(32)));
        second.end(Outcome.ERROR, a -> a.error("idempotency_error").httpStatus(400));
        second.endCall();
        second.endCall();
        List<JsonNode> events = collector.await(5);
        assertEquals(
                List.of("attempt_start", "attempt_end", "attempt_start", "attempt_end", "call_end"), texts(events, "type"));
        assertEquals(List.of("1", "1", "2", "2", "null"), texts(events, "attempt"));
        assertEquals(List.of("c1"), texts(events, "call").stream().distinct().toList());
        assertEquals(2, events.get(4).get("attempts").asInt());
        assertEquals("idempotency_error", text(events.get(4), "error"));
    }

    @Test
    void twoCallsHaveTwoIds() throws Exception {
        Collector collector = sidecar.collector();
        Oncewatch.begin("http", "a").end(Outcome.OK);
        Oncewatch.begin("http", "a").end(Outcome.OK);
        assertEquals(2, texts(collector.await(6), "call").stream().distinct().count());
    }

    @Test
    void leavingTheBlockByAnExceptionIsNoResponse() throws Exception {
        Collector collector = sidecar.collector();
        try (Attempt attempt = Oncewatch.begin("http", "key")) {
            assertFalse(attempt == null);
            throw new java.io.IOException("reset");
        } catch (java.io.IOException expected) {
            assertEquals(List.of("null", "no_response", "no_response"), texts(collector.await(3), "outcome"));
        }
    }

    @Test
    void anAttemptThatIsLostEndsWithoutResponse() throws Exception {
        Collector collector = sidecar.collector();
        Oncewatch.begin("http", "lost");
        Collector.eventually(
                () -> {
                    System.gc();
                    return collector.events().size() == 3;
                },
                () -> "the end of a lost attempt, have " + collector.events());
        assertEquals(List.of("null", "no_response", "no_response"), texts(collector.events(), "outcome"));
        assertFalse(collector.events().get(1).has("duration_ms"));
        assertTrue(sidecar.sender.openHandles.isEmpty());
    }

    @Test
    void anErrorWithoutCodeAndStatusStillMakesAValidEvent() throws Exception {
        Collector collector = sidecar.collector();
        Oncewatch.begin("http", "key").end(Outcome.ERROR, a -> a.error(""));
        Oncewatch.begin("http", "key").end(null);
        collector.await(6);
        List<JsonNode> ends = collector.of("attempt_end");
        assertEquals(List.of("error", "no_response"), texts(ends, "outcome"));
        assertEquals(List.of("UnknownError", "null"), texts(ends, "error"));
    }

    @ParameterizedTest
    @ValueSource(strings = {"x", "\u00e9", "\uD83D\uDE00", "\u0001", "\uD800"})
    void everyLimitHoldsForEveryScript(String unit) throws Exception {
        String text = unit.repeat(5000);
        sidecar.renew(settings -> settings.client = ClientName.of(text, 1));
        Collector collector = sidecar.collector();
        Attempt attempt = Oncewatch.begin(text, text, o -> o.fp(text).fpRaw(text).call(text).scope(text)
                .traceparent(text).maxAttempts(Integer.MIN_VALUE).attempt(-1));
        attempt.end(Outcome.ERROR, a -> a.error(text).requestId(text).httpStatus(Integer.MIN_VALUE)
                .readUnits(Double.NaN).writeUnits(Double.POSITIVE_INFINITY));
        List<JsonNode> events = collector.await(2);
        for (String line : collector.stream(0).split("\n")) {
            assertTrue(line.length() <= 16 * 1024 && line.chars().allMatch(c -> c >= 0x20 && c < 0x7F), line);
        }
        for (JsonNode event : events) {
            LIMITS.forEach((name, limit) -> {
                if (event.has(name)) {
                    int bytes = text(event, name).getBytes(StandardCharsets.UTF_8).length;
                    assertTrue(bytes > 0 && bytes <= limit, name + " has " + bytes + " bytes");
                }
            });
            for (String absent : List.of("max_attempts", "read_units", "write_units", "http_status")) {
                assertFalse(event.has(absent), absent);
            }
        }
        assertTrue(events.get(0).has("scope") && events.get(0).has("fp_raw") && events.get(1).has("request_id"));
    }

    @Test
    void longTokensThatBeginAlikeStayApart() throws Exception {
        Collector collector = sidecar.collector();
        for (String token : List.of("x".repeat(600) + "a", "x".repeat(600) + "b", "y".repeat(512), "")) {
            Oncewatch.begin("default", token).end(Outcome.OK);
        }
        List<String> tokens = texts(collector.await(12), "token").stream().distinct().toList();
        assertEquals(List.of(512, 512, 512, 0), tokens.stream().map(String::length).toList());
        assertEquals("y".repeat(512), tokens.get(2));
    }

    @Test
    void numbersAreExact() throws Exception {
        Map<Double, String> written = Map.of(0.0, "0", 2.5, "2.5", 1e-7, "1.0E-7", 3e9, "3000000000");
        written.forEach((value, text) -> {
            Line line = new Line();
            line.number("n", value);
            assertEquals(",\"n\":" + text, line.fields());
            assertEquals(value, Collector.parse("{" + line.fields().substring(1) + "}").get("n").asDouble());
        });
        for (double value : new double[] {-1, Double.NaN, Double.POSITIVE_INFINITY, 1e300}) {
            Line line = new Line();
            line.number("n", value);
            assertEquals("", line.fields());
        }
        assertEquals(",\"d\":12.034", new Line().milliseconds("d", 12_034_999).fields());
        assertEquals(",\"at\":7.000012", new Line().at(java.time.Instant.ofEpochSecond(7, 12_999)).fields());
    }

    @Test
    void theClientIsHostAndProcess() {
        assertEquals("orders-1/4711", ClientName.of("orders-1", 4711));
        assertEquals(128, ClientName.of("x".repeat(300), 4711).length());
        assertTrue(ClientName.of("x".repeat(300), 4711).endsWith("/4711"));
        assertTrue(ClientName.of("", 1).length() > 2 && ClientName.of(null, 1).endsWith("/1"));
    }

    @Test
    void theCurrentSpanOfOpenTelemetry() throws Exception {
        Collector collector = sidecar.collector();
        SpanContext context = SpanContext.create(
                "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", TraceFlags.getSampled(), TraceState.getDefault());
        try (Scope scope = Span.wrap(context).makeCurrent()) {
            assertFalse(scope == null);
            Oncewatch.begin("http", "in").end(Outcome.OK);
            Oncewatch.begin("http", "given", o -> o.traceparent("00-1-2-03")).end(Outcome.OK);
        }
        Oncewatch.begin("http", "out").end(Outcome.OK);
        collector.await(9);
        assertEquals(
                List.of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-1-2-03", "null"),
                texts(collector.of("attempt_start"), "traceparent"));
    }

    @Test
    @Tag("provokes-failures")
    void wrongUseIsCountedAndNotThrown() throws Exception {
        Collector collector = sidecar.collector();
        Oncewatch.begin("default", null).end(Outcome.OK);
        assertEquals(1, Oncewatch.stats().failures());
        assertEquals(3, Oncewatch.stats().dropped());
        Oncewatch.begin(null, "t").end(Outcome.OK);
        assertEquals(2, Oncewatch.stats().failures());
        Oncewatch.begin("default", "t", null).end(Outcome.OK, a -> { throw new IllegalStateException("mine"); });
        assertEquals(4, Oncewatch.stats().failures());
        assertTrue(Oncewatch.stats().lastFailure().contains("mine"));
        collector.await(4);
        assertEquals(List.of("6"), texts(collector.of("client_report"), "dropped"));
        assertEquals(List.of("ok"), texts(collector.of("attempt_end"), "outcome"));
    }

    @Test
    @Tag("provokes-failures")
    void errorsInTheApplicationsLambdasDoNotComeBack() throws Exception {
        Collector collector = sidecar.collector();
        class Unprintable extends RuntimeException {
            @Override
            public String toString() {
                throw new IllegalStateException("in toString");
            }
        }
        Attempt attempt = Oncewatch.begin("default", "t", o -> { throw new AssertionError("mine"); });
        assertTrue(Oncewatch.stats().lastFailure().contains("mine"));
        attempt.end(Outcome.OK, a -> { throw new Unprintable(); });
        assertEquals(2, Oncewatch.stats().failures());
        assertTrue(Oncewatch.stats().lastFailure().contains("Unprintable"));
        assertEquals(List.of("null", "ok", "ok"), texts(collector.await(3), "outcome"));
    }

    @Test
    void aLargeBodyTakesNoRoomInTheBuffer() throws Exception {
        Collector collector = sidecar.collector();
        collector.paused = true;
        String large = "{\"a\":\"" + "x".repeat(1 << 20) + "\"}";
        Oncewatch.begin("http", "large", o -> o.body(large)).end(Outcome.OK);
        Oncewatch.begin("http", "large", o -> o.body(large.getBytes(StandardCharsets.UTF_8))).end(Outcome.OK);
        assertTrue(sidecar.sender.occupiedBytes() < 4096);
        collector.paused = false;
        collector.await(6);
        List<String> raw = texts(collector.of("attempt_start"), "fp_raw");
        assertEquals(raw.get(0), raw.get(1));
        assertFalse(collector.of("attempt_start").get(0).has("fp"));
    }
}
