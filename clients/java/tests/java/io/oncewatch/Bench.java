package io.oncewatch;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import software.amazon.awssdk.core.interceptor.Context;
import software.amazon.awssdk.core.interceptor.ExecutionAttributes;
import software.amazon.awssdk.core.interceptor.ExecutionInterceptor;
import software.amazon.awssdk.services.dynamodb.DynamoDbClient;
import software.amazon.awssdk.services.dynamodb.model.AttributeValue;
import software.amazon.awssdk.services.dynamodb.model.Put;
import software.amazon.awssdk.services.dynamodb.model.TransactWriteItemsRequest;

/**
 * What the hook costs: per attempt on the calling thread, and per SDK call against a loopback server with and without it,
 * in turns, while the sidecar reads, does not read, or is not there. The class path must not register the interceptor.
 */
public final class Bench {
    private static final int WARM_UP = 6000;
    private static final int CALLS = 4000;
    private static final int PAUSE_EVERY = 10;

    private Bench() {}

    /** {@code [--json FILE]}. */
    public static void main(String[] arguments) throws Exception {
        Path json = arguments.length == 2 && arguments[0].equals("--json") ? Path.of(arguments[1]) : null;
        if (json == null && arguments.length > 0) {
            throw new IllegalArgumentException("usage: tests/bench [--json FILE]");
        }
        List<Map<String, Object>> rows = new ArrayList<>();
        System.out.printf(
                "%-9s %14s %14s %14s %14s %14s %14s %7s %7s %7s%n", "sidecar", "hook median", "hook p99", "begin+end",
                "call without", "call with", "p99 without", "p99 w.", "sent", "dropped");
        for (String state : List.of("warm-up", "up", "stalled", "absent")) {
            Map<String, Object> row = measure(state, state.equals("warm-up") ? WARM_UP : CALLS);
            if (!state.equals("warm-up")) {
                rows.add(row);
                System.out.printf(
                        "%-9s %11.2f us %11.2f us %11.2f us %11.0f us %11.0f us %11.0f us %7.0f %7d %7d%n", row.values().toArray());
            }
        }
        if (json != null) {
            new ObjectMapper().writerWithDefaultPrettyPrinter().writeValue(json.toFile(), rows);
        }
    }

    private static Map<String, Object> measure(String state, int calls) throws Exception {
        Path directory = Files.createTempDirectory("ow");
        Path socket = directory.resolve("s");
        ServerSocketChannel listener = state.equals("absent") ? null : Collector.listen(socket);
        if (listener != null) {
            Collector.daemon(() -> serve(listener, !state.equals("stalled")));
        }
        Sender.Settings settings = new Sender.Settings();
        settings.socketPath = () -> socket;
        Oncewatch.use(new Sender(settings));
        fillUp(state);
        Timed timed = new Timed();
        long[] without = new long[calls];
        long[] with = new long[calls];
        long[] hook = new long[calls];
        try (DynamoStub stub = new DynamoStub();
                DynamoDbClient plain = Clients.sync(stub.url, o -> {});
                DynamoDbClient observed = Clients.sync(stub.url, o -> o.addExecutionInterceptor(timed))) {
            for (int index = 0; index < calls; index++) {
                TransactWriteItemsRequest request = request(index);
                without[index] = time(() -> plain.transactWriteItems(request));
                timed.nanos = 0;
                with[index] = time(() -> observed.transactWriteItems(request));
                hook[index] = timed.nanos;
                stub.requests.clear();
            }
        }
        long[] generic = generic(calls);
        Stats stats = Oncewatch.stats();
        if (listener != null) {
            listener.close();
        }
        Files.deleteIfExists(socket);
        Files.delete(directory);
        return row(state, hook, generic, without, with, stats);
    }

    private static Map<String, Object> row(
            String state, long[] hook, long[] generic, long[] without, long[] with, Stats stats) {
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("sidecar", state);
        row.put("hook_median_us", quantile(hook, 0.5));
        row.put("hook_p99_us", quantile(hook, 0.99));
        row.put("begin_end_median_us", quantile(generic, 0.5));
        row.put("call_without_median_us", quantile(without, 0.5));
        row.put("call_with_median_us", quantile(with, 0.5));
        row.put("call_without_p99_us", quantile(without, 0.99));
        row.put("call_with_p99_us", quantile(with, 0.99));
        row.put("sent", stats.sent());
        row.put("dropped", stats.dropped());
        return row;
    }

    private static double quantile(long[] nanos, double fraction) {
        long[] sorted = nanos.clone();
        Arrays.sort(sorted);
        return sorted[(int) (fraction * (sorted.length - 1))] / 1000.0;
    }

    /** Until the client has noticed what the state is. */
    private static void fillUp(String state) throws InterruptedException {
        while (state.equals("stalled") && Oncewatch.stats().dropped() < 1000
                || state.equals("absent") && Oncewatch.sender().accepting()) {
            Oncewatch.begin("default", "x".repeat(400)).end(Outcome.OK);
            Thread.sleep(0, 100_000);
        }
    }

    private static long[] generic(int calls) throws InterruptedException {
        byte[] body = new byte[477];
        Arrays.fill(body, (byte) ' ');
        System.arraycopy("{}".getBytes(StandardCharsets.US_ASCII), 0, body, 0, 2);
        long[] nanos = new long[calls];
        for (int index = 0; index < calls; index++) {
            String token = "6b8f7c1e-0d7e-4a53-9f8b-%012d".formatted(index);
            nanos[index] = time(() -> Oncewatch.begin("default", token, o -> o.body(body).scope("eu"))
                    .end(Outcome.OK, a -> a.httpStatus(200).requestId("0123456789ABCDEF")));
            if (index % PAUSE_EVERY == 0) {
                Thread.sleep(1);
            }
        }
        return nanos;
    }

    private static long time(Runnable work) {
        long began = System.nanoTime();
        work.run();
        return System.nanoTime() - began;
    }

    private static void serve(ServerSocketChannel listener, boolean reads) {
        try (SocketChannel connection = listener.accept()) {
            ByteBuffer bytes = ByteBuffer.allocate(65536);
            while (!reads || connection.read(bytes.clear()) >= 0) {
                Thread.sleep(2);
                if (!listener.isOpen()) {
                    return;
                }
            }
        } catch (IOException | InterruptedException closed) {
            // This state has been measured.
        }
    }

    /** About 470 bytes on the wire. */
    private static TransactWriteItemsRequest request(int index) {
        Put put = Put.builder().tableName("payments").item(Map.of(
                "id", AttributeValue.fromS("6b8f7c1e-%012d".formatted(index)), "at", AttributeValue.fromN("1790000000"),
                "by", AttributeValue.fromS("checkout"), "note", AttributeValue.fromS("x".repeat(150)))).build();
        return Clients.request(null).toBuilder()
                .transactItems(Clients.request(null).transactItems().get(0),
                        software.amazon.awssdk.services.dynamodb.model.TransactWriteItem.builder().put(put).build())
                .build();
    }

    /** All hooks of one call, timed together. */
    private static final class Timed implements ExecutionInterceptor {
        private final OncewatchInterceptor observed = new OncewatchInterceptor();
        private long nanos;

        @Override
        public void beforeExecution(Context.BeforeExecution context, ExecutionAttributes attributes) {
            nanos += time(() -> observed.beforeExecution(context, attributes));
        }

        @Override
        public void afterMarshalling(Context.AfterMarshalling context, ExecutionAttributes attributes) {
            nanos += time(() -> observed.afterMarshalling(context, attributes));
        }

        @Override
        public void beforeTransmission(Context.BeforeTransmission context, ExecutionAttributes attributes) {
            nanos += time(() -> observed.beforeTransmission(context, attributes));
        }

        @Override
        public java.util.Optional<InputStream> modifyHttpResponseContent(
                Context.ModifyHttpResponse context, ExecutionAttributes attributes) {
            long began = System.nanoTime();
            java.util.Optional<InputStream> content = observed.modifyHttpResponseContent(context, attributes);
            nanos += System.nanoTime() - began;
            return content;
        }

        @Override
        public void afterUnmarshalling(Context.AfterUnmarshalling context, ExecutionAttributes attributes) {
            nanos += time(() -> observed.afterUnmarshalling(context, attributes));
        }

        @Override
        public void afterExecution(Context.AfterExecution context, ExecutionAttributes attributes) {
            nanos += time(() -> observed.afterExecution(context, attributes));
        }
    }
}
