package io.oncewatch;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Comparator;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.extension.AfterEachCallback;
import org.junit.jupiter.api.extension.BeforeEachCallback;
import org.junit.jupiter.api.extension.ExtensionContext;

/** Gives each test a sender of its own, and a place for a sidecar where it may put a {@link Collector}. */
final class Sidecar implements BeforeEachCallback, AfterEachCallback {
    Path directory;
    Path socket;
    Sender sender;
    private final AtomicLong ahead = new AtomicLong();
    private Collector collector;

    @Override
    public void beforeEach(ExtensionContext context) throws IOException {
        // Not JUnit's @TempDir: the paths of Unix sockets are limited to some hundred bytes.
        directory = Files.createTempDirectory("ow");
        socket = directory.resolve("s");
        renew(settings -> {});
    }

    /** Another sender, with other settings. */
    void renew(Consumer<Sender.Settings> change) {
        Sender.Settings settings = new Sender.Settings();
        settings.socketPath = () -> socket;
        settings.nanoTime = () -> System.nanoTime() + ahead.get();
        change.accept(settings);
        sender = new Sender(settings);
        Oncewatch.use(sender);
    }

    /** It is later for the sender: time to look for a socket again. */
    void passTime(Duration time) {
        ahead.addAndGet(time.toNanos());
    }

    Collector collector() throws IOException {
        collector = new Collector(socket);
        return collector;
    }

    @Override
    public void afterEach(ExtensionContext context) throws IOException {
        if (collector != null) {
            collector.paused = false;
            collector.close();
            collector = null;
        }
        try (Stream<Path> files = Files.walk(directory)) {
            for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
                Files.delete(file);
            }
        }
        String failure = sender.stats().lastFailure();
        if (failure != null && !context.getTags().contains("provokes-failures")) {
            throw new AssertionError("an error inside the library: " + failure);
        }
    }
}
