package io.oncewatch;

/** How an attempt ended, as far as this process knows. */
public enum Outcome {
    /** The server answered that it did what was asked. */
    OK("ok"),
    /** The server answered with an error. */
    ERROR("error"),
    /** Timeout, reset, cancelled, an answer that cannot be read: the server may have done it or not. */
    NO_RESPONSE("no_response");

    final String wireName;

    Outcome(String wireName) {
        this.wireName = wireName;
    }
}
