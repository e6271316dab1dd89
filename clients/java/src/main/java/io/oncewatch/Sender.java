package io.oncewatch;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.LongSupplier;
import java.util.function.Supplier;

/**
 * Carries events to the sidecar without the application ever waiting.
 *
 * <p>The application's threads only append to a bounded buffer; one daemon thread, started by the first event, hashes,
 * connects and writes. With nothing at the socket's path it is off: events are dropped at the cost of a comparison, and
 * the first event after 5 s tries again. A lost connection is replaced at once, going on with the first line that the
 * old one did not take whole; lines that the kernel took and the sidecar never read are lost uncounted.
 */
final class Sender {
    static final Duration FLUSH = Duration.ofMillis(200);
    private static final long CONNECT_INTERVAL_NANOS = 5_000_000_000L;
    private static final long NAP_NANOS = 2_000_000L;
    private static final long ABANDONED_CHECK_NANOS = 1_000_000_000L;
    private static final int BATCH_BYTES = 64 * 1024;
    private static final byte[] NOTHING = new byte[0];

    /** What tests need otherwise. */
    static final class Settings {
        /** Asked at each connect; {@code null} from it: there is nothing. */
        Supplier<Path> socketPath = () -> SocketPath.find(System::getenv);
        /** A connection lost sooner than this counts as nothing there, or an accept-and-close loop would be hammered. */
        Duration lived = Duration.ofSeconds(1);
        Duration writeTimeout = Duration.ofSeconds(1);
        /** 0: as the system has it. A small one makes the kernel take parts of lines. */
        int sendBufferBytes;
        /** For when to look for a socket again; durations of calls are real ones. */
        LongSupplier nanoTime = System::nanoTime;
        ThreadFactory threads = Sender::daemon;
        String client = ClientName.ofThisProcess();
    }

    final OpenHandles openHandles = new OpenHandles();
    private final Settings settings;
    private final Buffer buffer = new Buffer();
    private final AtomicLong sent = new AtomicLong();
    private final AtomicLong failures = new AtomicLong();
    private final AtomicBoolean starting = new AtomicBoolean();
    private volatile String lastFailure;
    private volatile Thread thread;
    /** The {@link #now} until which nothing is tried; 0 = not off. */
    private volatile long offUntilNanos;

    private volatile Connection connection;
    private byte[] data = NOTHING;
    private int offset;
    private int dataEvents;
    private long reporting;

    Sender(Settings settings) {
        this.settings = settings;
    }

    String client() {
        return settings.client;
    }

    /** False while a new attempt would only be dropped: nothing needs to be computed for it. */
    boolean accepting() {
        return !isOff() && !buffer.nearlyFull();
    }

    private boolean isOff() {
        long until = offUntilNanos;
        return until != 0 && until - now() > 0;
    }

    /** Queues one event; false if it was dropped (and counted). */
    boolean send(Event event) {
        if (isOff()) {
            buffer.countDropped(1);
            return false;
        }
        boolean queued = buffer.put(event);
        if (thread == null) {
            start();
        }
        return queued;
    }

    /** Counts an event that was not even made because {@link #accepting} was false. */
    void skip() {
        buffer.countDropped(1);
    }

    /** Waits until everything queued is written; false if the time is over before. */
    boolean flush(Duration timeout) {
        long deadline = System.nanoTime() + nanos(timeout);
        while (buffer.pending() > 0) {
            if (thread == null || System.nanoTime() - deadline >= 0) {
                return false;
            }
            try {
                Thread.sleep(1);
            } catch (InterruptedException interrupted) {
                Thread.currentThread().interrupt();
                return buffer.pending() == 0;
            }
        }
        return true;
    }

    private static long nanos(Duration timeout) {
        if (timeout == null) {
            return FLUSH.toNanos();
        }
        try {
            return Math.max(timeout.toNanos(), 0);
        } catch (ArithmeticException outOfRange) {
            return timeout.isNegative() ? 0 : Long.MAX_VALUE;
        }
    }

    /** An error inside this library or in the application's lambda, kept from the application. */
    void countFailure(Throwable failure) {
        failures.incrementAndGet();
        String text = null;
        try {
            text = failure.toString();
        } catch (Throwable alsoFailed) {
            // The exception may be the application's own, with a toString() that throws.
        }
        lastFailure = text == null ? failure.getClass().getName() : text.substring(0, Math.min(text.length(), 200));
    }

    Stats stats() {
        return new Stats(
                connection != null, sent.get(), buffer.pending(), buffer.dropped(), failures.get(), lastFailure);
    }

    /** Package-private for tests. */
    int occupiedBytes() {
        return buffer.occupiedBytes();
    }

    /** Package-private for tests: whether a write has ended within a line, while the sidecar does not read. */
    boolean midLine() {
        return offset > 0 && offset < data.length && data[offset - 1] != '\n';
    }

    private void start() {
        if (!starting.compareAndSet(false, true)) {
            return;
        }
        try {
            if (thread == null) {
                Thread created = settings.threads.newThread(this::run);
                created.start();
                thread = created;
                Runtime.getRuntime().addShutdownHook(new Thread(null, () -> flush(FLUSH), "oncewatch-exit", 0, false));
            }
        } catch (Exception | OutOfMemoryError failure) {
            // No more threads (Java calls that out of memory), or the process is ending.
            countFailure(failure);
            if (thread == null) {
                offUntilNanos = offTime();
                buffer.discard();
            }
        } finally {
            starting.set(false);
        }
    }

    private static Thread daemon(Runnable run) {
        Thread thread = new Thread(null, run, "oncewatch", 0, false);
        thread.setDaemon(true);
        thread.setContextClassLoader(null);
        return thread;
    }

    private void run() {
        while (true) {
            try {
                buffer.awaitWork(NAP_NANOS, openHandles.isEmpty() ? 0 : ABANDONED_CHECK_NANOS);
                // Closed channels and endless busy parking are what an interrupted thread would get.
                Thread.interrupted();
                openHandles.endAbandoned();
                pump();
            } catch (Throwable failure) {
                countFailure(failure);
                disconnect();
                turnOff();
            }
        }
    }

    /** Writes everything that is queued, or turns off. */
    private void pump() {
        while (offset < data.length || load()) {
            if (connection != null && connection.isReplaced(now())) {
                disconnect();
            }
            if (connection == null && !connect()) {
                turnOff();
                return;
            }
            write();
        }
    }

    private boolean load() {
        List<Event> batch = buffer.take(BATCH_BYTES);
        Line lines = new Line();
        dataEvents = 0;
        for (Event event : batch) {
            int whole = lines.length();
            try {
                event.write(lines, settings.client);
                if (lines.length() > whole) {
                    dataEvents++;
                } else if (event.call.failed()) {
                    buffer.countDropped(1);
                }
            } catch (Throwable failure) {
                countFailure(failure);
                lines.truncate(whole);
                buffer.countDropped(1);
            }
        }
        offset = 0;
        reporting = isOff() ? 0 : buffer.unreported();
        if (reporting > 0) {
            lines.begin("client_report").string("client", settings.client, Line.CLIENT_BYTES_MAX);
            lines.integer("dropped", reporting, 1).end();
        }
        data = lines.bytes();
        if (data.length == 0) {
            buffer.release();
        }
        return data.length > 0;
    }

    private void write() {
        try {
            offset += connection.write(ByteBuffer.wrap(data, offset, data.length - offset), settings.writeTimeout.toMillis());
        } catch (IOException lost) {
            long since = connection.sinceNanos;
            disconnect();
            if (now() - since < settings.lived.toNanos()) {
                turnOff();
            }
            return;
        }
        if (offset == data.length) {
            buffer.countReported(reporting);
            sent.addAndGet(dataEvents);
            finishBatch();
        }
    }

    private void finishBatch() {
        buffer.release();
        data = NOTHING;
        offset = 0;
        dataEvents = 0;
        reporting = 0;
    }

    private boolean connect() {
        if (isOff()) {
            return false;
        }
        try {
            Path path = settings.socketPath.get();
            if (path == null) {
                return false;
            }
            connection = Connection.open(path, settings.sendBufferBytes, now());
        } catch (IOException | UnsupportedOperationException | IllegalArgumentException absent) {
            return false;
        }
        offUntilNanos = 0;
        return true;
    }

    /** Closes, and goes back to the start of the line that was being written. */
    private void disconnect() {
        if (connection != null) {
            connection.close();
            connection = null;
        }
        while (offset > 0 && data[offset - 1] != '\n') {
            offset--;
        }
    }

    /** Drops and counts what is queued: later, the sidecar would judge it by the wrong time. */
    private void turnOff() {
        offUntilNanos = offTime();
        int lines = 0;
        for (int index = offset; index < data.length; index++) {
            lines += data[index] == '\n' ? 1 : 0;
        }
        // No text, but events: it could not be made of them.
        int lost = data.length == 0 ? dataEvents : Math.max(lines - (reporting > 0 ? 1 : 0), 0);
        buffer.countDropped(lost);
        sent.addAndGet(dataEvents - lost);
        finishBatch();
        buffer.discard();
    }

    private long now() {
        return settings.nanoTime.getAsLong();
    }

    private long offTime() {
        long until = now() + CONNECT_INTERVAL_NANOS;
        return until == 0 ? 1 : until;
    }
}
