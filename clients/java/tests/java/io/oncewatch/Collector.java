package io.oncewatch;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;

/** A sidecar that only collects: every event, per connection. */
final class Collector implements AutoCloseable {
    private static final ObjectMapper JSON = new ObjectMapper();

    final Path path;
    volatile boolean paused;
    private final ServerSocketChannel listener;
    private final List<ByteArrayOutputStream> streams = new ArrayList<>();
    private final List<SocketChannel> connections = new ArrayList<>();

    Collector(Path path) throws IOException {
        this.path = path;
        listener = listen(path);
        daemon(this::accept);
    }

    static ServerSocketChannel listen(Path path) throws IOException {
        ServerSocketChannel listener = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
        return listener.bind(UnixDomainSocketAddress.of(path));
    }

    static Thread daemon(Runnable work) {
        Thread thread = new Thread(work);
        thread.setDaemon(true);
        thread.start();
        return thread;
    }

    private void accept() {
        try {
            while (true) {
                SocketChannel connection = listener.accept();
                ByteArrayOutputStream stream = new ByteArrayOutputStream();
                synchronized (streams) {
                    streams.add(stream);
                    connections.add(connection);
                }
                daemon(() -> read(connection, stream));
            }
        } catch (IOException closed) {
            // The test is over.
        }
    }

    private void read(SocketChannel connection, ByteArrayOutputStream stream) {
        ByteBuffer bytes = ByteBuffer.allocate(65536);
        try {
            while (true) {
                while (paused) {
                    Thread.sleep(5);
                }
                if (connection.read(bytes.clear()) < 0) {
                    return;
                }
                synchronized (streams) {
                    stream.write(bytes.array(), 0, bytes.position());
                }
            }
        } catch (IOException | InterruptedException closed) {
            // The test is over.
        }
    }

    int connections() {
        synchronized (streams) {
            return streams.size();
        }
    }

    String stream(int index) {
        synchronized (streams) {
            return streams.get(index).toString(StandardCharsets.UTF_8);
        }
    }

    List<JsonNode> events() {
        List<JsonNode> events = new ArrayList<>();
        for (int index = 0; index < connections(); index++) {
            String text = stream(index);
            for (String line : text.substring(0, text.lastIndexOf('\n') + 1).split("\n")) {
                if (!line.isEmpty()) {
                    events.add(parse(line));
                }
            }
        }
        return events;
    }

    static JsonNode parse(String line) {
        try {
            return JSON.readTree(line);
        } catch (IOException notJson) {
            throw new AssertionError("not JSON: " + line, notJson);
        }
    }

    List<JsonNode> of(String type) {
        return events().stream().filter(event -> event.get("type").asText().equals(type)).toList();
    }

    /** Exactly {@code count} events: also waits a moment for one too many. */
    List<JsonNode> await(int count) throws InterruptedException {
        eventually(() -> events().size() >= count, () -> count + " events, have " + events());
        Thread.sleep(20);
        List<JsonNode> events = events();
        if (events.size() != count) {
            throw new AssertionError("expected " + count + " events, have " + events);
        }
        return events;
    }

    static void eventually(BooleanSupplier condition, Supplier<String> what) throws InterruptedException {
        long deadline = System.nanoTime() + 10_000_000_000L;
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError("waited 10 s for " + what.get());
            }
            Thread.sleep(5);
        }
    }

    @Override
    public void close() throws IOException {
        leave();
        Files.deleteIfExists(path);
    }

    /** Closes, and leaves the socket's file behind as a killed process does. */
    void leave() throws IOException {
        listener.close();
        synchronized (streams) {
            for (SocketChannel connection : connections) {
                connection.close();
            }
        }
    }
}
