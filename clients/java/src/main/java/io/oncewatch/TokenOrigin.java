package io.oncewatch;

/** Who made a token. */
public enum TokenOrigin {
    /** The application. */
    CALLER("caller"),
    /** The client library, because the application gave none. */
    SDK("sdk");

    final String wireName;

    TokenOrigin(String wireName) {
        this.wireName = wireName;
    }
}
