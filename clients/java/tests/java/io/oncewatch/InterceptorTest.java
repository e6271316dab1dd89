package io.oncewatch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import software.amazon.awssdk.core.SdkRequest;
import software.amazon.awssdk.core.exception.ApiCallTimeoutException;
import software.amazon.awssdk.core.exception.SdkClientException;
import software.amazon.awssdk.core.interceptor.Context;
import software.amazon.awssdk.core.interceptor.ExecutionAttributes;
import software.amazon.awssdk.core.interceptor.ExecutionInterceptor;
import software.amazon.awssdk.core.interceptor.SdkExecutionAttribute;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbClient;
import software.amazon.awssdk.services.dynamodb.model.AttributeValue;
import software.amazon.awssdk.services.dynamodb.model.DynamoDbException;
import software.amazon.awssdk.services.dynamodb.model.IdempotentParameterMismatchException;
import software.amazon.awssdk.services.dynamodb.model.ParameterizedStatement;
import software.amazon.awssdk.services.dynamodb.model.TransactWriteItemsRequest;
import software.amazon.awssdk.services.dynamodb.model.TransactWriteItemsResponse;
import software.amazon.awssdk.services.dynamodb.model.TransactionCanceledException;

/** The SDK's own classes against a scripted server; the interceptor is found on the class path, as applications have it. */
class InterceptorTest {
    @RegisterExtension
    final Sidecar sidecar = new Sidecar();

    private DynamoStub stub;
    private Collector collector;

    @BeforeEach
    void startPeers() throws Exception {
        stub = new DynamoStub();
        collector = sidecar.collector();
    }

    @AfterEach
    void stopPeers() throws Exception {
        stub.close();
    }

    private static List<String> texts(List<JsonNode> events, String name) {
        return AttemptTest.texts(events, name);
    }

    @ParameterizedTest
    @EnumSource
    void oneCallIsThreeEventsWithTheTokenOfTheSdk(Clients kind) throws Exception {
        kind.transact(stub.url, Clients.request(null), o -> {});
        List<JsonNode> events = collector.await(3);
        DynamoStub.Request request = stub.requests.get(0);
        JsonNode start = events.get(0);
        assertEquals(List.of("attempt_start", "attempt_end", "call_end"), texts(events, "type"));
        assertEquals(Collector.parse(request.body()).get("ClientRequestToken"), start.get("token"));
        assertEquals("sdk", start.get("token_origin").asText());
        assertEquals("dynamodb.TransactWriteItems", start.get("api").asText());
        assertEquals("eu-west-1", start.get("scope").asText());
        assertEquals(request.headers().get("amz-sdk-invocation-id"), start.get("call").asText());
        assertEquals("attempt=1; max=" + start.get("max_attempts").asText(), request.headers().get("amz-sdk-request"));
        Fingerprint expected = Fingerprint.of(
                "dynamodb.TransactWriteItems", request.body().getBytes(StandardCharsets.UTF_8), "ClientRequestToken",
                List.of("ReturnConsumedCapacity", "ReturnItemCollectionMetrics"));
        assertEquals(expected.fp(), start.get("fp").asText());
        assertEquals(expected.fpRaw(), start.get("fp_raw").asText());
        double duration = events.get(1).get("duration_ms").asDouble();
        assertTrue(duration > 0 && duration <= events.get(2).get("duration_ms").asDouble(), events.toString());
        assertEquals(1, events.get(2).get("attempts").asInt());
    }

    @ParameterizedTest
    @EnumSource
    void aTokenByAnInterceptorOfTheApplicationIsTheCallers(Clients kind) throws Exception {
        kind.transact(stub.url, Clients.request(null), o -> o.addExecutionInterceptor(new ExecutionInterceptor() {
            @Override
            public SdkRequest modifyRequest(Context.ModifyRequest context, ExecutionAttributes attributes) {
                return ((TransactWriteItemsRequest) context.request()).toBuilder().clientRequestToken("stable").build();
            }
        }));
        JsonNode start = collector.await(3).get(0);
        assertEquals("stable", start.get("token").asText());
        assertEquals("caller", start.get("token_origin").asText());
    }

    @Test
    void executeTransactionToo() throws Exception {
        stub.script.add(DynamoStub.ok("{\"ConsumedCapacity\":[{\"TableName\":\"t\",\"ReadCapacityUnits\":3.5}]}"));
        try (DynamoDbClient client = Clients.sync(stub.url, o -> {})) {
            client.executeTransaction(r -> r.clientRequestToken("mine")
                    .transactStatements(ParameterizedStatement.builder()
                            .statement("INSERT INTO \"t\" VALUE {'id': 'x'}").build()));
        }
        List<JsonNode> events = collector.await(3);
        assertEquals("dynamodb.ExecuteTransaction", events.get(0).get("api").asText());
        assertEquals("mine", events.get(0).get("token").asText());
        assertEquals("caller", events.get(0).get("token_origin").asText());
        assertEquals(3.5, events.get(1).get("read_units").asDouble());
    }

    @Test
    void otherOperationsAreNotReported() throws Exception {
        try (DynamoDbClient client = Clients.sync(stub.url, o -> {})) {
            client.getItem(r -> r.tableName("t").key(Map.of("id", AttributeValue.fromS("x"))));
            client.transactGetItems(r -> r.transactItems(List.of()));
            client.transactWriteItems(Clients.request("t"));
        }
        collector.await(3);
        assertEquals(3, stub.requests.size());
    }

    @ParameterizedTest
    @EnumSource
    void everyAttemptWithItsOwnError(Clients kind) throws Exception {
        stub.script.addAll(List.of(
                DynamoStub.error(400, "TransactionInProgressException"), DynamoStub.failure("reset"),
                DynamoStub.error(500, "InternalServerError"), DynamoStub.ok("{}")));
        kind.transact(stub.url, Clients.request("token"), Clients.attempts(4, null));
        List<JsonNode> events = collector.await(9);
        assertEquals(List.of("1", "1", "2", "2", "3", "3", "4", "4", "null"), texts(events, "attempt"));
        List<JsonNode> ends = collector.of("attempt_end");
        assertEquals(List.of("error", "no_response", "error", "ok"), texts(ends, "outcome"));
        assertEquals(
                List.of("TransactionInProgressException", "null", "InternalServerError", "null"), texts(ends, "error"));
        assertEquals(List.of("400", "null", "500", "200"), texts(ends, "http_status"));
        assertFalse(ends.get(1).has("duration_ms"), "when the connection was reset is not known");
        assertEquals(List.of("4", "4", "4", "4"), texts(collector.of("attempt_start"), "max_attempts"));
        assertEquals(1, texts(events, "call").stream().distinct().count());
        assertEquals(1, texts(collector.of("attempt_start"), "fp").stream().distinct().count());
        List<Double> at = events.stream().map(event -> event.get("at").asDouble()).toList();
        assertEquals(at.stream().sorted().toList(), at, "the true order in time");
        assertEquals("ok", events.get(8).get("outcome").asText());
        assertEquals(4, events.get(8).get("attempts").asInt());
    }

    @ParameterizedTest
    @EnumSource
    void anAttemptTimeoutEndsWhenTheNextAttemptBegins(Clients kind) throws Exception {
        stub.script.addAll(List.of(DynamoStub.failure("timeout"), DynamoStub.ok("{}")));
        kind.transact(stub.url, Clients.request("token"), Clients.attempts(3, Duration.ofMillis(400)));
        List<JsonNode> events = collector.await(5);
        assertEquals(
                List.of("attempt_start", "attempt_end", "attempt_start", "attempt_end", "call_end"), texts(events, "type"));
        assertEquals(List.of("no_response", "ok"), texts(collector.of("attempt_end"), "outcome"));
    }

    @ParameterizedTest
    @EnumSource
    void aCallThatFailsOnItsLastAttempt(Clients kind) throws Exception {
        stub.script.addAll(List.of(
                DynamoStub.error(400, "TransactionInProgressException"),
                DynamoStub.error(400, "TransactionInProgressException")));
        assertThrows(DynamoDbException.class, () ->
                kind.transact(stub.url, Clients.request("token"), Clients.attempts(2, null)));
        List<JsonNode> events = collector.await(5);
        assertEquals("TransactionInProgressException", events.get(3).get("error").asText());
        assertEquals("TransactionInProgressException", events.get(4).get("error").asText());
        assertEquals(2, events.get(4).get("attempts").asInt());
    }

    @ParameterizedTest
    @EnumSource
    void theApplicationSeesWhatItWouldSeeWithoutUs(Clients kind) throws Exception {
        String cancelled = "{\"__type\":\"x#TransactionCanceledException\",\"message\":\"why\","
                + "\"CancellationReasons\":[{\"Code\":\"ConditionalCheckFailed\"}]}";
        stub.script.add(new DynamoStub.Step(400, Map.of("x-amzn-RequestId", "R1"), cancelled, null, 0));
        TransactionCanceledException failure = assertThrows(TransactionCanceledException.class, () ->
                kind.transact(stub.url, Clients.request("a"), Clients.attempts(3, null)));
        assertEquals("ConditionalCheckFailed", failure.cancellationReasons().get(0).code());
        assertEquals("R1", failure.requestId());
        stub.script.add(DynamoStub.error(400, "IdempotentParameterMismatchException"));
        assertThrows(IdempotentParameterMismatchException.class, () ->
                kind.transact(stub.url, Clients.request("b"), Clients.attempts(3, null)));
        stub.script.add(DynamoStub.ok("{\"ConsumedCapacity\":[{\"TableName\":\"t\",\"WriteCapacityUnits\":2.0}]}"));
        TransactWriteItemsResponse response = kind.transact(stub.url, Clients.request("c"), o -> {});
        assertEquals(2.0, response.consumedCapacity().get(0).writeCapacityUnits());
        assertEquals(3, stub.requests.size());
        assertEquals(List.of("TransactionCanceledException", "IdempotentParameterMismatchException", "null"),
                texts(collector.await(9).stream().filter(e -> e.get("type").asText().equals("call_end")).toList(), "error"));
    }

    /** The first answer is that of a retried attempt: nothing but its status is known. */
    @ParameterizedTest
    @EnumSource
    void aCodeBehindALongMessageComesFromTheException(Clients kind) throws Exception {
        DynamoStub.Step step = new DynamoStub.Step(400, Map.of(), "{\"message\":\"" + "x".repeat(600_000)
                + "\",\"__type\":\"com.amazonaws.dynamodb.v20120810#TransactionInProgressException\"}", null, 0);
        stub.script.addAll(List.of(step, step));
        assertThrows(DynamoDbException.class, () ->
                kind.transact(stub.url, Clients.request("t"), Clients.attempts(2, null)));
        List<JsonNode> events = collector.await(5);
        assertEquals(List.of("null", "error", "null", "error", "error"), texts(events, "outcome"));
        assertEquals(List.of("null", "400", "null", "400", "400"), texts(events, "http_status"));
        assertEquals(
                List.of("null", "null", "null", "TransactionInProgressException", "TransactionInProgressException"),
                texts(events, "error"));
    }

    @Test
    void onTheClassPathAndExplicitlyIsOnce() throws Exception {
        Clients.SYNC.transact(
                stub.url, Clients.request("t"), o -> o.addExecutionInterceptor(new OncewatchInterceptor("1234/eu")));
        List<JsonNode> events = collector.await(3);
        assertEquals(List.of("1234/eu", "1234/eu", "1234/eu"), texts(events, "scope"));
        Clients.SYNC.transact(stub.url, Clients.request("t"), o -> {
            o.addExecutionInterceptor(new OncewatchInterceptor());
            o.addExecutionInterceptor(new OncewatchInterceptor());
        });
        collector.await(6);
    }

    @Test
    void aClientBuiltBeforeAndUsedByManyThreads() throws Exception {
        try (DynamoDbClient client = Clients.sync(stub.url, o -> {})) {
            List<Thread> threads = java.util.stream.IntStream.range(0, 8).mapToObj(n -> Collector.daemon(() -> {
                for (int index = 0; index < 10; index++) {
                    client.transactWriteItems(Clients.request(n + "-" + index));
                }
            })).toList();
            for (Thread thread : threads) {
                thread.join();
            }
        }
        List<JsonNode> events = collector.await(240);
        assertEquals(80, texts(events, "token").stream().distinct().count());
        assertEquals(80, texts(events, "call").stream().distinct().count());
    }

    @Test
    void synchronousTimeoutOfTheWholeCall() throws Exception {
        stub.script.add(DynamoStub.failure("timeout"));
        assertThrows(ApiCallTimeoutException.class, () -> Clients.SYNC.transact(
                stub.url, Clients.request("t"), o -> o.apiCallTimeout(Duration.ofMillis(500))));
        assertEquals(List.of("null", "no_response", "no_response"), texts(collector.await(3), "outcome"));
    }

    @Test
    void anInterruptedCall() throws Exception {
        stub.script.add(DynamoStub.late(600));
        Thread caller = new Thread(() -> assertThrows(SdkClientException.class, () ->
                Clients.SYNC.transact(stub.url, Clients.request("t"), o -> {})));
        caller.start();
        collector.await(1);
        caller.interrupt();
        caller.join(10_000);
        assertEquals(List.of("null", "no_response", "no_response"), texts(collector.await(3), "outcome"));
    }

    /** No hook tells; the garbage collector does. */
    @Test
    void asynchronousTimeoutOfTheWholeCall() throws Exception {
        stub.script.add(DynamoStub.failure("timeout"));
        try (DynamoDbAsyncClient client = Clients.async(stub.url, o -> o.apiCallTimeout(Duration.ofMillis(500)))) {
            CompletableFuture<TransactWriteItemsResponse> answer = client.transactWriteItems(Clients.request("t"));
            assertThrows(ExecutionException.class, answer::get);
            collector.await(1);
            Collector.eventually(
                    () -> {
                        System.gc();
                        return collector.events().size() == 3;
                    },
                    () -> "the end of an abandoned call, have " + collector.events());
        }
        assertEquals(List.of("null", "no_response", "no_response"), texts(collector.events(), "outcome"));
    }

    /** The SDK goes on with a call whose future the application has completed itself. */
    @Test
    void aCancelledFutureTellsTheTruthLater() throws Exception {
        stub.script.addAll(List.of(DynamoStub.late(500), DynamoStub.late(500)));
        try (DynamoDbAsyncClient client = Clients.async(stub.url, o -> {})) {
            CompletableFuture<TransactWriteItemsResponse> cancelled = client.transactWriteItems(Clients.request("a"));
            collector.await(1);
            cancelled.cancel(true);
            assertEquals(List.of("null", "ok", "ok"), texts(collector.await(3), "outcome"));
            CompletableFuture<TransactWriteItemsResponse> late = client.transactWriteItems(Clients.request("b"));
            late.orTimeout(100, TimeUnit.MILLISECONDS);
            assertTrue(assertThrows(ExecutionException.class, late::get).getCause() instanceof TimeoutException);
            assertEquals(List.of("null", "ok", "ok"), texts(collector.await(6).subList(3, 6), "outcome"));
        }
    }

    @Test
    void aRequestThatIsNeverSentReportsNothing() throws Exception {
        assertThrows(Exception.class, () -> Clients.SYNC.transact(
                stub.url, Clients.request("t"), o -> o.addExecutionInterceptor(new ExecutionInterceptor() {
                    @Override
                    public void afterMarshalling(Context.AfterMarshalling context, ExecutionAttributes attributes) {
                        throw new IllegalStateException("the application's own");
                    }
                })));
        Thread.sleep(50);
        assertEquals(0, collector.events().size());
        assertEquals(0, stub.requests.size());
    }

    @Test
    void theRequestOnTheWireIsTheSame() throws Exception {
        AtomicReference<Sender> ours = new AtomicReference<>(Oncewatch.sender());
        TransactWriteItemsRequest request = Clients.request("same");
        Clients.SYNC.transact(stub.url, request, o -> {});
        sidecar.renew(settings -> settings.socketPath = () -> null);
        Clients.SYNC.transact(stub.url, request, o -> {});
        assertNotEquals(ours.get(), Oncewatch.sender());
        assertEquals(stub.requests.get(0).body(), stub.requests.get(1).body());
        assertEquals(stub.requests.get(0).headers().keySet(), stub.requests.get(1).headers().keySet());
    }

    @Test
    void withoutASidecarNothingIsComputedAndDropsAreCounted() throws Exception {
        collector.close();
        Clients.SYNC.transact(stub.url, Clients.request("t"), o -> {});
        Collector.eventually(() -> !sidecar.sender.accepting(), () -> "off");
        Clients.SYNC.transact(stub.url, Clients.request("t"), o -> {});
        Collector.eventually(() -> Oncewatch.stats().dropped() == 6, () -> "6 drops, " + Oncewatch.stats());
        assertTrue(sidecar.sender.openHandles.isEmpty());
    }

    /** A broken SDK hook call must not reach the application. */
    @Test
    @Tag("provokes-failures")
    void hooksThrowNothing() {
        OncewatchInterceptor interceptor = new OncewatchInterceptor();
        ExecutionAttributes attributes = new ExecutionAttributes();
        attributes.putAttribute(SdkExecutionAttribute.SERVICE_NAME, "DynamoDb");
        interceptor.beforeExecution(null, attributes);
        assertEquals(1, Oncewatch.stats().failures());
        interceptor.beforeExecution(null, null);
        assertEquals(2, Oncewatch.stats().failures());
    }
}
