package io.oncewatch;

import java.util.List;

/**
 * What the events of one call have in common.
 *
 * <p>The application's thread only fills in references; hashing the body and writing JSON is left to the sender, which
 * asks for {@link #fields}.
 */
final class Call {
    /** Where the body's bytes come from: read once, by the sender or, for a large body, by the application's thread. */
    interface Body {
        int length();

        byte[] read() throws Exception;
    }

    /** Larger bodies are hashed by the application's thread, so that they need no room in the buffer. */
    static final int LATER_BYTES_MAX = 32 * 1024;

    final String api;
    final String id;
    final String scope;
    final TokenOrigin tokenOrigin;
    /** {@code null}: it is read from the body. */
    String token;
    String fp;
    String fpRaw;
    String tokenField;
    List<String> ignoredFields = List.of();
    long startedNanos;

    private volatile Body body;
    private boolean described;
    private boolean failed;
    private String commonFields;
    private String fingerprintFields = "";

    Call(String api, String id, String scope, TokenOrigin tokenOrigin) {
        this.api = api;
        this.id = id;
        this.scope = scope;
        this.tokenOrigin = tokenOrigin;
    }

    /** Before the first event of the call. */
    void body(Body body, String client) {
        this.body = body;
        if (body.length() > LATER_BYTES_MAX) {
            describe(client);
        }
    }

    int unreadBodyBytes() {
        Body unread = body;
        return unread == null ? 0 : unread.length();
    }

    int textBytes() {
        return api.length() + id.length() + length(token) + length(scope) + length(fp) + length(fpRaw);
    }

    private static int length(String text) {
        return text == null ? 0 : text.length();
    }

    /**
     * The fields of every event, with those of a start if asked for; {@code null} if there is no token to report, or if
     * an earlier event of the call {@link #failed}.
     */
    synchronized String fields(String client, boolean withFingerprints) {
        describe(client);
        if (commonFields == null) {
            return null;
        }
        return withFingerprints ? commonFields + fingerprintFields : commonFields;
    }

    private synchronized void describe(String client) {
        if (described) {
            return;
        }
        described = true;
        failed = true;
        Body unread = body;
        body = null;
        if (unread != null) {
            hash(unread);
        }
        if (token != null) {
            writeFields(client);
        }
        failed = false;
    }

    /** The common fields come last: without them no event of the call is written, not even in part. */
    private void writeFields(String client) {
        Line prints = new Line().identifier("fp", fp, Line.FINGERPRINT_BYTES_MAX);
        fingerprintFields = prints.identifier("fp_raw", fpRaw, Line.FINGERPRINT_BYTES_MAX).fields();
        Line common = new Line().string("api", api, Line.API_BYTES_MAX).token(token);
        common.identifier("call", id, Line.CALL_BYTES_MAX).string("client", client, Line.CLIENT_BYTES_MAX);
        commonFields = common.identifier("scope", scope, Line.SCOPE_BYTES_MAX).fields();
    }

    /** Whether an error inside this library keeps its events from being written. */
    synchronized boolean failed() {
        return failed;
    }

    private void hash(Body unread) {
        byte[] bytes;
        try {
            bytes = unread.read();
        } catch (Exception unreadable) {
            throw new IllegalStateException("the request's body cannot be read", unreadable);
        }
        Fingerprint found = Fingerprint.of(api, bytes, tokenField, ignoredFields);
        fp = fp == null ? found.fp() : fp;
        fpRaw = fpRaw == null ? found.fpRaw() : fpRaw;
        token = token == null ? found.token() : token;
    }
}
