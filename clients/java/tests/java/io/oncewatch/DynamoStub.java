package io.oncewatch;

import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Queue;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CopyOnWriteArrayList;

/** Speaks enough of DynamoDB's protocol for an SDK; answers by the script, then with plain success. */
final class DynamoStub implements AutoCloseable {
    /** What the server does with one request. */
    record Step(int status, Map<String, String> headers, String body, String failure, long delayMillis) {}

    /** One request as it arrived; header names in lower case. */
    record Request(Map<String, String> headers, String body) {}

    final Queue<Step> script = new ConcurrentLinkedQueue<>();
    final List<Request> requests = new CopyOnWriteArrayList<>();
    final URI url;
    private final ServerSocket listener = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());

    DynamoStub() throws IOException {
        url = URI.create("http://127.0.0.1:" + listener.getLocalPort());
        Collector.daemon(this::accept);
    }

    static Step ok(String body) {
        return new Step(200, Map.of("x-amzn-RequestId", "REQ"), body, null, 0);
    }

    static Step error(int status, String code) {
        String body = "{\"__type\":\"com.amazonaws.dynamodb.v20120810#" + code + "\",\"message\":\"scripted\"}";
        return new Step(status, Map.of("x-amzn-RequestId", "REQ"), body, null, 0);
    }

    /** {@code reset}, {@code close}, {@code timeout} or {@code truncated}. */
    static Step failure(String kind) {
        return new Step(200, Map.of(), "{", kind, 0);
    }

    static Step late(long delayMillis) {
        return new Step(200, Map.of(), "{}", null, delayMillis);
    }

    private void accept() {
        try {
            while (true) {
                Socket socket = listener.accept();
                Collector.daemon(() -> serve(socket));
            }
        } catch (IOException closed) {
            // The test is over.
        }
    }

    private void serve(Socket socket) {
        try (socket) {
            InputStream in = new BufferedInputStream(socket.getInputStream());
            socket.setTcpNoDelay(true);
            for (Request request = read(in); request != null; request = read(in)) {
                requests.add(request);
                Step step = script.poll();
                if (!answer(socket, step == null ? ok("{}") : step)) {
                    return;
                }
            }
        } catch (IOException | InterruptedException gone) {
            // A client that gives up before the answer is part of the script.
        }
    }

    private static Request read(InputStream in) throws IOException {
        Map<String, String> headers = new TreeMap<>();
        if (line(in).isEmpty()) {
            return null;
        }
        for (String line = line(in); !line.isEmpty(); line = line(in)) {
            int colon = line.indexOf(':');
            headers.put(line.substring(0, colon).toLowerCase(Locale.ROOT), line.substring(colon + 1).strip());
        }
        int length = Integer.parseInt(headers.getOrDefault("content-length", "0"));
        return new Request(headers, new String(in.readNBytes(length), StandardCharsets.UTF_8));
    }

    private static String line(InputStream in) throws IOException {
        StringBuilder line = new StringBuilder();
        for (int octet = in.read(); octet >= 0 && octet != '\n'; octet = in.read()) {
            line.append((char) octet);
        }
        return line.toString().strip();
    }

    private static boolean answer(Socket socket, Step step) throws IOException, InterruptedException {
        Thread.sleep(step.delayMillis);
        String failure = step.failure == null ? "" : step.failure;
        switch (failure) {
            case "reset" -> socket.setSoLinger(true, 0);
            case "timeout" -> Thread.sleep(20_000);
            case "close" -> socket.shutdownOutput();
            default -> {
                byte[] body = step.body.getBytes(StandardCharsets.UTF_8);
                int length = body.length + (failure.equals("truncated") ? 10 : 0);
                StringBuilder head = new StringBuilder("HTTP/1.1 " + step.status + " X\r\ncontent-length: " + length + "\r\n");
                step.headers.forEach((name, value) -> head.append(name + ": " + value + "\r\n"));
                OutputStream out = socket.getOutputStream();
                out.write(head.append("\r\n").toString().getBytes(StandardCharsets.UTF_8));
                out.write(body);
                out.flush();
            }
        }
        return failure.isEmpty();
    }

    @Override
    public void close() throws IOException {
        listener.close();
    }
}
