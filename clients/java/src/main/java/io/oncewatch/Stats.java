package io.oncewatch;

/**
 * Counts of this process since it started.
 *
 * @param connected whether a connection to the sidecar is open
 * @param sent events written to the sidecar's socket
 * @param pending events that wait to be written, at most 1000
 * @param dropped events given up because nothing took them
 * @param failures errors inside this library, all kept from the application
 * @param lastFailure the last of them, or {@code null}
 */
public record Stats(boolean connected, long sent, int pending, long dropped, long failures, String lastFailure) {}
