package io.oncewatch;

import java.time.Instant;

/** One event on its way to the sender, as references; it becomes text there. */
abstract class Event {
    /** A line without its texts and the body. */
    private static final int LINE_BYTES = 160;

    final Call call;
    final Instant at = Instant.now();
    /** What it occupies of the buffer's limit: roughly its line, and a body that is kept for it. */
    final int bytes;

    private Event(Call call, int ownBytes) {
        this.call = call;
        this.bytes = LINE_BYTES + call.textBytes() + ownBytes;
    }

    private static int textBytes(String traceparent) {
        return traceparent == null ? 0 : Math.min(traceparent.length(), Line.TRACEPARENT_BYTES_MAX);
    }

    /** Adds a line, or nothing if the request turned out to have no token. */
    abstract void write(Line line, String client);

    static final class Start extends Event {
        private final int attempt;
        private final int maxAttempts;
        private final String traceparent;

        Start(Call call, int attempt, int maxAttempts, String traceparent) {
            super(call, call.unreadBodyBytes() + textBytes(traceparent));
            this.attempt = attempt;
            this.maxAttempts = maxAttempts;
            this.traceparent = Line.clipped(traceparent, Line.TRACEPARENT_BYTES_MAX);
        }

        @Override
        void write(Line line, String client) {
            String fields = call.fields(client, true);
            if (fields != null) {
                line.begin("attempt_start").raw(fields).integer("attempt", attempt, 1);
                line.integer("max_attempts", maxAttempts, 1);
                line.string("traceparent", traceparent, Line.TRACEPARENT_BYTES_MAX);
                line.string("token_origin", call.tokenOrigin.wireName, Line.API_BYTES_MAX).at(at).end();
            }
        }
    }

    static final class End extends Event {
        private final int attempt;
        private final Answer answer;
        private final long durationNanos;

        /** A negative duration is one that is not known. */
        End(Call call, int attempt, Answer answer, long durationNanos) {
            super(call, answer.textBytes());
            this.attempt = attempt;
            this.answer = answer;
            this.durationNanos = durationNanos;
        }

        @Override
        void write(Line line, String client) {
            String fields = call.fields(client, false);
            if (fields != null) {
                line.begin("attempt_end").raw(fields).integer("attempt", attempt, 1);
                answer.writeOutcome(line);
                line.milliseconds("duration_ms", durationNanos);
                answer.writeUnits(line);
                line.at(at).end();
            }
        }
    }

    static final class CallEnd extends Event {
        private final int attempts;
        private final Answer answer;
        private final long durationNanos;

        CallEnd(Call call, int attempts, Answer answer, long durationNanos) {
            super(call, answer.textBytes());
            this.attempts = attempts;
            this.answer = answer;
            this.durationNanos = durationNanos;
        }

        @Override
        void write(Line line, String client) {
            String fields = call.fields(client, false);
            if (fields != null) {
                line.begin("call_end").raw(fields).integer("attempts", attempts, 1);
                answer.writeOutcome(line);
                line.milliseconds("duration_ms", durationNanos).at(at).end();
            }
        }
    }
}
