package io.oncewatch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** The way to the sidecar when the sidecar is absent, slow, gone or new. */
class SenderTest {
    @RegisterExtension
    final Sidecar sidecar = new Sidecar();

    /** Three events: start, end, call_end. */
    private static void report(String token) {
        Oncewatch.begin("default", token).end(Outcome.OK);
    }

    private static List<String> tokens(Collector collector) {
        return collector.events().stream().filter(e -> e.has("token")).map(e -> e.get("token").asText()).toList();
    }

    /** Lets the client find out that nothing is there. */
    private void turnOff() throws InterruptedException {
        report("t");
        Collector.eventually(() -> !sidecar.sender.accepting(), () -> "off");
    }

    private static void idle() throws InterruptedException {
        Collector.eventually(() -> Oncewatch.stats().pending() == 0, () -> "all written, " + Oncewatch.stats());
    }

    @Test
    void anAbsentSocketIsOffAndDropsAreReportedLater() throws Exception {
        turnOff();
        for (int index = 0; index < 10; index++) {
            report("off");
        }
        Collector.eventually(() -> Oncewatch.stats().dropped() == 33, () -> "33 dropped, " + Oncewatch.stats());
        Collector collector = sidecar.collector();
        report("too early");
        assertEquals(36, Oncewatch.stats().dropped(), "looked again before its time");
        assertFalse(Oncewatch.stats().connected());
        sidecar.passTime(Duration.ofSeconds(5));
        report("after");
        collector.await(4);
        assertEquals(List.of("after", "after", "after"), tokens(collector));
        JsonNode drops = collector.of("client_report").get(0);
        assertEquals(36, drops.get("dropped").asInt());
        assertEquals(sidecar.sender.client(), drops.get("client").asText());
        assertEquals(new Stats(true, 3, 0, 36, 0, null), Oncewatch.stats());
    }

    @Test
    void looksAgainAfterFiveSecondsAndNotBefore() throws Exception {
        long before = System.nanoTime();
        turnOff();
        Collector collector = sidecar.collector();
        while (!sidecar.sender.accepting()) {
            Thread.sleep(20);
        }
        double waited = (System.nanoTime() - before) / 1e9;
        assertTrue(waited >= 5 && waited < 6, "waited " + waited + " s");
        report("again");
        collector.await(4);
    }

    @Test
    void noSocketConfiguredAndNoneAtTheDefaults() throws Exception {
        assertFalse(Files.exists(Path.of("/run/oncewatch/events.sock")), "this machine runs a sidecar; stop it first");
        String directory = sidecar.directory.toString();
        Map<String, String> environment = Map.of("XDG_RUNTIME_DIR", directory, "TMPDIR", directory);
        assertNull(SocketPath.find(environment::get));
        assertNull(SocketPath.find(Map.of("TMPDIR", directory)::get));
        sidecar.socket = null;
        turnOff();
        Path socket = sidecar.directory.resolve("oncewatch/events.sock");
        Files.createDirectory(socket.getParent());
        Files.createFile(socket);
        assertEquals(socket, SocketPath.find(environment::get));
        assertEquals(Path.of("/x/y"), SocketPath.find(Map.of("ONCEWATCH_SOCKET", "/x/y", "TMPDIR", directory)::get));
        assertNull(SocketPath.find(Map.of("ONCEWATCH_SOCKET", "a\0b")::get));
    }

    @Test
    void aSharedTemporaryDirectoryIsTrustedOnlyIfPrivate() throws Exception {
        Map<String, String> environment = Map.of("TMPDIR", sidecar.directory.toString());
        Object user = Files.getAttribute(Path.of("/proc/self"), "unix:uid");
        Path directory = Files.createDirectory(sidecar.directory.resolve("oncewatch-" + user));
        Files.setPosixFilePermissions(directory, PosixFilePermissions.fromString("rwx------"));
        assertEquals(directory.resolve("events.sock"), SocketPath.find(environment::get));
        Files.setPosixFilePermissions(directory, PosixFilePermissions.fromString("rwxrwxrwx"));
        assertNull(SocketPath.find(environment::get));
        Files.delete(directory);
        Path elsewhere = Files.createDirectory(sidecar.directory.resolve("elsewhere"));
        Files.setPosixFilePermissions(elsewhere, PosixFilePermissions.fromString("rwx------"));
        Files.createSymbolicLink(directory, elsewhere);
        assertNull(SocketPath.find(environment::get));
    }

    @Test
    void aSidecarThatNeverReadsCostsDropsAndNoTime() throws Exception {
        Collector collector = sidecar.collector();
        collector.paused = true;
        byte[] body = ("{\"a\":\"" + "x".repeat(300) + "\"}").getBytes(StandardCharsets.UTF_8);
        long slowest = 0;
        int attempts = 0;
        // The kernel takes some hundred KiB before it says that nobody reads.
        while (attempts % 500 != 0 || attempts < 5000 || Oncewatch.flush(Duration.ofSeconds(1))) {
            String token = "token-" + attempts++;
            long began = System.nanoTime();
            Oncewatch.begin("default", token, o -> o.body(body)).end(Outcome.OK);
            slowest = Math.max(slowest, System.nanoTime() - began);
            assertTrue(Oncewatch.stats().pending() <= Buffer.EVENTS_MAX);
            assertTrue(sidecar.sender.occupiedBytes() <= Buffer.BYTES_MAX);
        }
        int events = 3 * attempts;
        assertTrue(slowest < 1_000_000_000L, "the application waited " + slowest + " ns");
        assertTrue(Oncewatch.stats().dropped() > 1000, Oncewatch.stats().toString());
        long began = System.nanoTime();
        assertFalse(Oncewatch.flush(Duration.ofMillis(200)));
        assertTrue(System.nanoTime() - began < 600_000_000L);
        collector.paused = false;
        idle();
        long dropped = Oncewatch.stats().dropped();
        Collector.eventually(
                () -> {
                    int reported = collector.of("client_report").stream().mapToInt(e -> e.get("dropped").asInt()).sum();
                    return reported == dropped && tokens(collector).size() + dropped == events;
                },
                () -> "all accounted for: " + tokens(collector).size() + " came, " + dropped + " dropped");
        assertEquals("token-0", tokens(collector).get(0), "the newest are dropped, not the oldest");
    }

    @Test
    void flushTakesAnyDuration() throws Exception {
        ServerSocketChannel listener = Collector.listen(sidecar.socket);
        sidecar.renew(settings -> settings.sendBufferBytes = 4608);
        for (int index = 0; index < 30; index++) {
            report("x".repeat(400));
        }
        assertFalse(Oncewatch.flush(null));
        assertFalse(Oncewatch.flush(ChronoUnit.FOREVER.getDuration().negated()));
        SocketChannel connection = listener.accept();
        Collector.daemon(() -> {
            try {
                while (connection.read(ByteBuffer.allocate(4096)) >= 0) {}
            } catch (java.io.IOException closed) {
                // The test is over.
            }
        });
        assertTrue(Oncewatch.flush(ChronoUnit.FOREVER.getDuration()));
        connection.close();
        listener.close();
    }

    @Test
    void bufferLimits() {
        Buffer buffer = new Buffer();
        Call call = new Call("a", "c", "", TokenOrigin.CALLER);
        int accepted = 0;
        while (buffer.put(new Event.CallEnd(call, 1, Answer.of(Outcome.OK), -1))) {
            accepted++;
        }
        assertEquals(1000, accepted);
        assertTrue(buffer.nearlyFull());
        List<Event> batch = buffer.take(64 * 1024);
        assertTrue(batch.size() > 100 && batch.size() < 1000);
        assertFalse(buffer.put(batch.get(0)), "a batch that is not written yet still occupies the buffer");
        buffer.release();
        assertTrue(buffer.put(batch.get(0)));
        assertEquals(2, buffer.dropped());
        buffer.discard();
        assertEquals(0, buffer.occupiedBytes() + buffer.pending());

        byte[] body = new byte[16 * 1024];
        int starts = 0;
        for (boolean room = true; room; ) {
            Call large = new Call("a", "c", "", TokenOrigin.CALLER);
            large.body(new BodyOf(body), "client");
            room = buffer.put(new Event.Start(large, 1, 1, null));
            starts += room ? 1 : 0;
        }
        assertEquals(15, starts);
    }

    /** What waits is cut to its limit, so that the buffer's limit is one of memory too. */
    @Test
    void waitingEventsKeepNoLongTexts() {
        String huge = "\u00e9".repeat(1 << 20);
        Call call = new Call("a", "c", "", TokenOrigin.CALLER);
        Answer answer = Answer.of(Outcome.ERROR).error(huge).requestId(huge);
        assertEquals(2 * 64, answer.textBytes());
        Event plain = new Event.End(call, 1, Answer.of(Outcome.ERROR), -1);
        assertEquals(plain.bytes + 2 * 64, new Event.End(call, 1, answer, -1).bytes);
        assertEquals(plain.bytes + 2 * 64, new Event.CallEnd(call, 1, answer, -1).bytes);
        assertEquals(plain.bytes + 128, new Event.Start(call, 1, 1, huge).bytes);
        assertEquals("", Line.clipped(huge, 1), "a half character");
    }

    private record BodyOf(byte[] bytes) implements Call.Body {
        @Override
        public int length() {
            return bytes.length;
        }

        @Override
        public byte[] read() {
            return bytes;
        }
    }

    private record UnreadableBody() implements Call.Body {
        @Override
        public int length() {
            return 7;
        }

        @Override
        public byte[] read() {
            throw new AssertionError("unreadable");
        }
    }

    /** The server takes few bytes and goes; the next one gets whole lines from the interrupted one on. */
    @Test
    void aConnectionClosedWithinALine() throws Exception {
        sidecar.renew(settings -> {
            settings.lived = Duration.ZERO;
            settings.writeTimeout = Duration.ofMillis(20);
            settings.sendBufferBytes = 4608;
        });
        ServerSocketChannel listener = Collector.listen(sidecar.socket);
        for (int index = 0; index < 100; index++) {
            Oncewatch.begin("d", "%03d".formatted(index) + "t".repeat(470)).end(Outcome.OK);
        }
        SocketChannel connection = listener.accept();
        connection.read(ByteBuffer.allocate(1000));
        Collector.eventually(() -> sidecar.sender.midLine(), () -> "a line that the kernel took in part");
        listener.close();
        Files.delete(sidecar.socket);
        Collector collector = sidecar.collector();
        connection.close();
        idle();
        Collector.eventually(() -> tokens(collector).contains("099" + "t".repeat(470)), () -> "the last event");
        assertTrue(collector.stream(0).startsWith("{\"type\":") && collector.stream(0).endsWith("}\n"));
        assertEquals(tokens(collector).stream().sorted().toList(), tokens(collector));
        assertTrue(tokens(collector).size() > 10);
        assertEquals(0, Oncewatch.stats().dropped());
    }

    @Test
    void aSlowReaderGetsEveryLineOnce() throws Exception {
        sidecar.renew(settings -> {
            settings.writeTimeout = Duration.ofMillis(10);
            settings.sendBufferBytes = 4608;
        });
        ServerSocketChannel listener = Collector.listen(sidecar.socket);
        List<String> expected = new ArrayList<>();
        for (int index = 0; index < 110; index++) {
            String token = "%03d".formatted(index) + "x".repeat(450);
            expected.addAll(List.of(token, token, token));
            report(token);
        }
        assertEquals(0, Oncewatch.stats().dropped());
        SocketChannel connection = listener.accept();
        StringBuilder received = new StringBuilder();
        ByteBuffer bytes = ByteBuffer.allocate(333);
        while (received.chars().filter(c -> c == '\n').count() < 330) {
            connection.read(bytes.clear());
            received.append(new String(bytes.array(), 0, bytes.position(), StandardCharsets.UTF_8));
        }
        List<String> tokens = received.toString().lines().map(l -> Collector.parse(l).get("token").asText()).toList();
        assertEquals(expected, tokens);
        connection.close();
        listener.close();
    }

    @Test
    void theSidecarRestarts() throws Exception {
        sidecar.renew(settings -> settings.lived = Duration.ZERO);
        Collector first = new Collector(sidecar.socket);
        report("one");
        first.await(3);
        first.leave();
        Files.delete(sidecar.socket);
        Collector second = sidecar.collector();
        report("two");
        second.await(3);
        assertEquals(List.of("two", "two", "two"), tokens(second));
    }

    @Test
    void theSocketFileIsReplacedWhileTheOldServerLives() throws Exception {
        Collector old = new Collector(sidecar.socket);
        report("one");
        old.await(3);
        Files.delete(sidecar.socket);
        Collector fresh = sidecar.collector();
        sidecar.passTime(Duration.ofSeconds(1));
        report("two");
        fresh.await(3);
        assertEquals(List.of("two", "two", "two"), tokens(fresh));
        assertEquals(3, old.events().size());
        old.leave();
    }

    @Test
    void theSocketBehindALinkIsReplacedWhileTheOldServerLives() throws Exception {
        Path target = sidecar.directory.resolve("t");
        Files.createSymbolicLink(sidecar.socket, target);
        Collector old = new Collector(target);
        report("one");
        old.await(3);
        Files.move(target, sidecar.directory.resolve("old"));
        Collector fresh = new Collector(target);
        sidecar.passTime(Duration.ofSeconds(1));
        report("two");
        fresh.await(3);
        assertEquals(3, old.events().size());
        old.leave();
        fresh.leave();
    }

    @Test
    void aSocketFileLeftByADeadSidecarIsOff() throws Exception {
        new Collector(sidecar.socket).leave();
        assertTrue(Files.exists(sidecar.socket));
        turnOff();
        assertFalse(Oncewatch.stats().connected());
    }

    @Test
    void aServerThatClosesAtOnceIsNotHammered() throws Exception {
        ServerSocketChannel listener = Collector.listen(sidecar.socket);
        AtomicInteger accepted = new AtomicInteger();
        Collector.daemon(() -> {
            try {
                while (true) {
                    listener.accept().close();
                    accepted.incrementAndGet();
                }
            } catch (java.io.IOException closed) {
                // The test is over.
            }
        });
        for (int index = 0; index < 100; index++) {
            report("t");
            Thread.sleep(5);
        }
        assertTrue(accepted.get() >= 1 && accepted.get() <= 2, accepted + " connections");
        assertTrue(Oncewatch.stats().dropped() > 0);
        listener.close();
    }

    @Test
    void manyThreads() throws Exception {
        Collector collector = sidecar.collector();
        List<Thread> threads = new ArrayList<>();
        for (int number = 0; number < 16; number++) {
            String name = number + "/";
            threads.add(Collector.daemon(() -> {
                for (int index = 0; index < 20; index++) {
                    report(name + index);
                    java.util.concurrent.locks.LockSupport.parkNanos(1_000_000);
                }
            }));
        }
        for (Thread thread : threads) {
            thread.join();
        }
        collector.await(960);
        assertEquals(320, tokens(collector).stream().distinct().count());
        Map<String, List<String>> types = collector.events().stream().collect(Collectors.groupingBy(
                e -> e.get("token").asText(), Collectors.mapping(e -> e.get("type").asText(), Collectors.toList())));
        assertEquals(Set.of(List.of("attempt_start", "attempt_end", "call_end")), Set.copyOf(types.values()));
        assertEquals(0, Oncewatch.stats().dropped());
        assertEquals(1, collector.connections());
    }

    @Test
    void anInterruptedThreadReportsAndStaysInterrupted() throws Exception {
        Collector collector = sidecar.collector();
        Thread.currentThread().interrupt();
        report("interrupted");
        Oncewatch.flush(Duration.ofMillis(200));
        assertTrue(Thread.interrupted());
        collector.await(3);
    }

    @Test
    @Tag("provokes-failures")
    void aProcessThatMayNotStartThreadsGoesOn() {
        sidecar.renew(settings -> settings.threads = run -> {
            throw new OutOfMemoryError("unable to create native thread");
        });
        report("t");
        report("t");
        assertEquals(1, Oncewatch.stats().failures(), "tried again at once");
        assertEquals(6, Oncewatch.stats().dropped());
        assertEquals(0, Oncewatch.stats().pending());
        assertTrue(Oncewatch.flush(Duration.ofMillis(1)));
    }

    @Test
    @Tag("provokes-failures")
    void anEventThatCannotBeWrittenDoesNotStopTheOthers() throws Exception {
        Collector collector = sidecar.collector();
        Call broken = new Call("a", "c", "", TokenOrigin.CALLER);
        broken.token = "broken";
        broken.body(new UnreadableBody(), "client");
        Progress lost = new Progress(sidecar.sender, broken, 1, true);
        lost.start(1, null);
        lost.end(Answer.of(Outcome.OK), true);
        report("good");
        collector.await(4);
        assertEquals(List.of("good", "good", "good"), tokens(collector));
        assertEquals(3, collector.of("client_report").get(0).get("dropped").asInt());
        assertEquals(1, Oncewatch.stats().failures());
        idle();
        assertEquals(3, Oncewatch.stats().sent());
    }
}
