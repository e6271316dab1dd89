package io.oncewatch;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.function.UnaryOperator;

/** Where the sidecar listens. */
final class SocketPath {
    private static final String SYSTEM_DEFAULT = "/run/oncewatch/events.sock";
    private static final int WRITABLE_BY_OTHERS = 0022;

    private SocketPath() {}

    /** {@code ONCEWATCH_SOCKET}, else the first default of the sidecar that exists; {@code null} if none does. */
    static Path find(UnaryOperator<String> environment) {
        String configured = environment.apply("ONCEWATCH_SOCKET");
        try {
            if (configured != null && !configured.isEmpty()) {
                return Path.of(configured);
            }
            Path system = Path.of(SYSTEM_DEFAULT);
            if (Files.exists(system)) {
                return system;
            }
            String runtimeDirectory = environment.apply("XDG_RUNTIME_DIR");
            if (runtimeDirectory != null && !runtimeDirectory.isEmpty()) {
                Path user = Path.of(runtimeDirectory, "oncewatch", "events.sock");
                if (Files.exists(user)) {
                    return user;
                }
            }
            return privateTemporary(environment);
        } catch (InvalidPathException unusable) {
            return null;
        }
    }

    /** Anybody can create a directory in the temporary one: only this user's own may receive tokens. */
    private static Path privateTemporary(UnaryOperator<String> environment) {
        // The sidecar looks at TMPDIR; java.io.tmpdir does not.
        String temporary = environment.apply("TMPDIR");
        Path parent = Path.of(temporary == null || temporary.isEmpty() ? "/tmp" : temporary);
        try {
            Object user = Files.getAttribute(Path.of("/proc/self"), "unix:uid");
            Path directory = parent.resolve("oncewatch-" + user);
            boolean ours = Files.isDirectory(directory, LinkOption.NOFOLLOW_LINKS)
                    && user.equals(Files.getAttribute(directory, "unix:uid", LinkOption.NOFOLLOW_LINKS));
            int mode = ours ? (int) Files.getAttribute(directory, "unix:mode", LinkOption.NOFOLLOW_LINKS) : 0;
            return ours && (mode & WRITABLE_BY_OTHERS) == 0 ? directory.resolve("events.sock") : null;
        } catch (IOException | UnsupportedOperationException | IllegalArgumentException none) {
            return null;
        }
    }
}
