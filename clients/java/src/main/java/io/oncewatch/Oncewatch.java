package io.oncewatch;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;

/**
 * Tells the oncewatch sidecar how this process uses idempotency tokens.
 *
 * <p>For DynamoDB there is nothing to call: see {@link OncewatchInterceptor}. For anything else:
 *
 * <pre>{@code
 * try (Attempt attempt = Oncewatch.begin("stripe", key, o -> o.body(payload))) {
 *     HttpResponse<String> reply = http.send(request, BodyHandlers.ofString());
 *     attempt.end(reply.statusCode() < 300 ? Outcome.OK : Outcome.ERROR, a -> a.httpStatus(reply.statusCode()));
 * }
 * }</pre>
 *
 * <p>It only observes: no method waits for the sidecar (but {@link #flush}) or throws because of it.
 */
public final class Oncewatch {
    private static final AtomicLong CALLS = new AtomicLong();
    /** In a container each process is number 1 of the same host: a counter alone would repeat after a restart. */
    private static final String CALL_PREFIX =
            Long.toHexString(System.currentTimeMillis()) + Long.toHexString(System.nanoTime()) + "-";

    private static volatile Sender sender = new Sender(new Sender.Settings());

    private Oncewatch() {}

    /** Reports that a request with {@code token} is about to be sent; see the other {@code begin}. */
    public static Attempt begin(String api, String token) {
        return begin(api, token, options -> {});
    }

    /**
     * Reports that a request with {@code token} is about to be sent; never throws.
     *
     * <p>{@code api} names the sidecar's profile, e.g. {@code stripe}, at most 128 bytes; {@code token} may be as long as
     * it likes. Give the body as sent, or a hash of the parameters. For several attempts of one call give the same
     * {@code call} and count {@code attempt} from 1, and finish with {@link Attempt#endCall}.
     */
    public static Attempt begin(String api, String token, Consumer<AttemptOptions> with) {
        Sender current = sender;
        AttemptOptions options = new AttemptOptions();
        try {
            with.accept(options);
        } catch (Throwable failure) {
            current.countFailure(failure);
        }
        boolean ownCall = options.call == null || options.call.isEmpty();
        int number = Math.max(options.attempt, 1);
        if (!current.accepting()) {
            return new Attempt(current, Progress.unobserved(current, number, ownCall));
        }
        try {
            Call call = call(current, api, token, options, ownCall);
            Progress progress = new Progress(current, call, number, ownCall);
            Attempt attempt = new Attempt(current, progress);
            String trace = options.traceparent;
            progress.start(options.maxAttempts, trace == null ? TraceContext.traceparent() : trace);
            attempt.watch();
            return attempt;
        } catch (Throwable failure) {
            current.countFailure(failure);
            return new Attempt(current, Progress.unobserved(current, number, ownCall));
        }
    }

    private static Call call(Sender sender, String api, String token, AttemptOptions options, boolean ownCall) {
        String id = ownCall ? newCallId() : options.call;
        TokenOrigin origin = options.tokenOrigin == null ? TokenOrigin.CALLER : options.tokenOrigin;
        Call call = new Call(api, id, options.scope, origin);
        call.token = Objects.requireNonNull(token, "token");
        call.fp = options.fp;
        call.fpRaw = options.fpRaw;
        call.tokenField = options.tokenField;
        call.ignoredFields = options.ignoredFields;
        if (options.body != null && (options.fp == null || options.fpRaw == null)) {
            call.body(body(options.body), sender.client());
        }
        return call;
    }

    static String newCallId() {
        return CALL_PREFIX + CALLS.incrementAndGet();
    }

    private static Call.Body body(Object given) {
        if (given instanceof String text) {
            return new TextBody(text);
        }
        byte[] bytes = (byte[]) given;
        // The application may use its array again before the sender has read it.
        return new BytesBody(bytes.length > Call.LATER_BYTES_MAX ? bytes : bytes.clone());
    }

    private record TextBody(String text) implements Call.Body {
        @Override
        public int length() {
            return text.length();
        }

        @Override
        public byte[] read() {
            return text.getBytes(StandardCharsets.UTF_8);
        }
    }

    private record BytesBody(byte[] bytes) implements Call.Body {
        @Override
        public int length() {
            return bytes.length;
        }

        @Override
        public byte[] read() {
            return bytes;
        }
    }

    /**
     * Waits until all events are written, at most {@code timeout} ({@code null}: 200 ms, negative: not at all); true if
     * they are. Only needed before {@code Runtime.halt}: a normal end of the process does it, for at most 200 ms.
     */
    public static boolean flush(Duration timeout) {
        return sender.flush(timeout);
    }

    /** Counts of this process. */
    public static Stats stats() {
        return sender.stats();
    }

    static Sender sender() {
        return sender;
    }

    /** Package-private for tests. */
    static void use(Sender other) {
        sender = other;
    }
}
