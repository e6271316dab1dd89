package io.oncewatch;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.LongAdder;
import java.util.concurrent.locks.LockSupport;

/**
 * The bounded queue between the application's threads and the sender.
 *
 * <p>At most 1000 events or 256 KiB that are not yet written, bodies that are not yet hashed included; the newest is
 * refused when full. The lock is held for a few assignments and never during I/O.
 */
final class Buffer {
    static final int EVENTS_MAX = 1000;
    static final int BYTES_MAX = 256 * 1024;
    private static final int ATTEMPT_EVENTS = 3;
    private static final int ATTEMPT_BYTES = 2048;

    private final Object lock = new Object();
    private final ArrayDeque<Event> waiting = new ArrayDeque<>();
    private final LongAdder dropped = new LongAdder();
    private volatile int events;
    private volatile int bytes;
    private int takenEvents;
    private int takenBytes;
    private long reported;
    private Thread sleeper;

    /** Takes one event or counts it as dropped; never waits for the sidecar. */
    boolean put(Event event) {
        int size = event.bytes;
        Thread toWake;
        synchronized (lock) {
            if (events >= EVENTS_MAX || bytes + size > BYTES_MAX) {
                dropped.increment();
                return false;
            }
            waiting.add(event);
            occupy(1, size);
            toWake = sleeper;
            sleeper = null;
        }
        if (toWake != null) {
            LockSupport.unpark(toWake);
        }
        return true;
    }

    private void occupy(int moreEvents, int moreBytes) {
        events = events + moreEvents;
        bytes = bytes + moreBytes;
    }

    void countDropped(long number) {
        dropped.add(number);
    }

    /**
     * The oldest events up to {@code bytesMax}, at least one if there is any; only after the last batch was released.
     * They occupy the buffer until then.
     */
    List<Event> take(int bytesMax) {
        List<Event> batch = new ArrayList<>();
        synchronized (lock) {
            while (!waiting.isEmpty()) {
                int size = waiting.peek().bytes;
                if (!batch.isEmpty() && takenBytes + size > bytesMax) {
                    break;
                }
                batch.add(waiting.poll());
                takenBytes += size;
            }
            takenEvents = batch.size();
        }
        return batch;
    }

    /** The batch is written (or given up): its room is free. */
    void release() {
        synchronized (lock) {
            occupy(-takenEvents, -takenBytes);
            takenEvents = 0;
            takenBytes = 0;
        }
    }

    /** Drops and counts every event that has not been taken. */
    void discard() {
        synchronized (lock) {
            dropped.add(waiting.size());
            waiting.clear();
            events = takenEvents;
            bytes = takenBytes;
        }
    }

    /** Whether an attempt begun now would hardly find room for its events. */
    boolean nearlyFull() {
        return events + ATTEMPT_EVENTS > EVENTS_MAX || bytes + ATTEMPT_BYTES > BYTES_MAX;
    }

    /** Events that are not yet written. */
    int pending() {
        return events;
    }

    int occupiedBytes() {
        return bytes;
    }

    /** Events dropped since the process started. */
    long dropped() {
        return dropped.sum();
    }

    /** Dropped events of which the sidecar does not know yet. */
    long unreported() {
        return dropped.sum() - reported;
    }

    /** Only by the sender. */
    void countReported(long number) {
        reported += number;
    }

    /**
     * Naps so that events gather; with none after it, waits until one comes, at most {@code idleNanos} (0: without
     * limit). No timer runs while the application does nothing, and no wake-up is paid for while the sender naps anyway.
     */
    void awaitWork(long napNanos, long idleNanos) {
        LockSupport.parkNanos(this, napNanos);
        synchronized (lock) {
            if (!waiting.isEmpty()) {
                return;
            }
            sleeper = Thread.currentThread();
        }
        if (idleNanos > 0) {
            LockSupport.parkNanos(this, idleNanos);
        } else {
            LockSupport.park(this);
        }
        synchronized (lock) {
            sleeper = null;
            if (waiting.isEmpty()) {
                return;
            }
        }
        LockSupport.parkNanos(this, napNanos);
    }
}
