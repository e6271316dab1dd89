package io.oncewatch;

import java.util.List;

/** What {@link Oncewatch#begin} may be told about an attempt besides its API and token. */
public final class AttemptOptions {
    Object body;
    String fp;
    String fpRaw;
    String tokenField;
    List<String> ignoredFields = List.of();
    String call;
    int attempt = 1;
    int maxAttempts;
    String scope;
    TokenOrigin tokenOrigin = TokenOrigin.CALLER;
    String traceparent;

    AttemptOptions() {}

    /** The request body as sent; both fingerprints are made from it. It is copied, or hashed at once if over 32 KiB. */
    public AttemptOptions body(byte[] bytes) {
        this.body = bytes;
        return this;
    }

    /** The request body as sent, in UTF-8. */
    public AttemptOptions body(String text) {
        this.body = text;
        return this;
    }

    /** Your own hash of the parameters without the token, at most 64 bytes, instead of {@code body}. */
    public AttemptOptions fp(String hash) {
        this.fp = hash;
        return this;
    }

    /** Your own hash of the bytes as sent without the token, at most 64 bytes. */
    public AttemptOptions fpRaw(String hash) {
        this.fpRaw = hash;
        return this;
    }

    /** The body's top-level JSON field that holds the token, so that it does not count as a parameter. */
    public AttemptOptions tokenField(String name) {
        this.tokenField = name;
        return this;
    }

    /** Top-level JSON fields that only shape the answer, as in the sidecar's profile. */
    public AttemptOptions ignoredFields(String... names) {
        this.ignoredFields = List.of(names);
        return this;
    }

    /** The same for all attempts of one call, at most 64 bytes; finish such a call with {@link Attempt#endCall}. */
    public AttemptOptions call(String id) {
        this.call = id;
        return this;
    }

    /** The attempt's number within its call, from 1. */
    public AttemptOptions attempt(int number) {
        this.attempt = number;
        return this;
    }

    /** How many attempts the call will make at most, the first included. */
    public AttemptOptions maxAttempts(int number) {
        this.maxAttempts = number;
        return this;
    }

    /** The namespace the token is unique in, e.g. an account; at most 256 bytes. */
    public AttemptOptions scope(String name) {
        this.scope = name;
        return this;
    }

    /** Who made the token; the caller if not set. */
    public AttemptOptions tokenOrigin(TokenOrigin origin) {
        this.tokenOrigin = origin;
        return this;
    }

    /** A W3C trace context instead of that of the current OpenTelemetry span. */
    public AttemptOptions traceparent(String value) {
        this.traceparent = value;
        return this;
    }
}
