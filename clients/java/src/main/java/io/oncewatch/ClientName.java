package io.oncewatch;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** {@code <HOSTNAME>/<pid>}. */
final class ClientName {
    private ClientName() {}

    static String ofThisProcess() {
        try {
            return of(System.getenv("HOSTNAME"), ProcessHandle.current().pid());
        } catch (RuntimeException forbidden) {
            // This runs when the class is loaded, where an exception would reach the application.
            return "localhost/0";
        }
    }

    /** {@code host} may be {@code null} or empty: then it is the kernel's name of this machine. */
    static String of(String host, long pid) {
        String suffix = "/" + pid;
        String name = host == null || host.isEmpty() ? kernelName() : host;
        return Line.clipped(name, Line.CLIENT_BYTES_MAX - suffix.length()) + suffix;
    }

    /** InetAddress.getLocalHost() would ask the resolver, which can take seconds. */
    private static String kernelName() {
        try {
            return Files.readString(Path.of("/proc/sys/kernel/hostname")).strip();
        } catch (IOException | RuntimeException noProc) {
            return "localhost";
        }
    }
}
