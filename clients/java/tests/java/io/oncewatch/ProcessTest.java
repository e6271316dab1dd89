package io.oncewatch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.nio.channels.ServerSocketChannel;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Predicate;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import software.amazon.awssdk.core.interceptor.ExecutionInterceptor;

/** The beginning and the end of a process, with as little on its class path as it may have. */
class ProcessTest {
    private static final Predicate<String> OURS = entry -> !entry.endsWith(".jar");

    @RegisterExtension
    final Sidecar sidecar = new Sidecar();

    private record Done(int exitCode, String out, long pid) {}

    private Done run(Predicate<String> classPath, String... arguments) throws Exception {
        String path = Arrays.stream(System.getProperty("java.class.path").split(File.pathSeparator))
                .filter(classPath).collect(Collectors.joining(File.pathSeparator));
        List<String> command = new ArrayList<>(List.of(
                ProcessHandle.current().info().command().orElseThrow(), "-XX:TieredStopAtLevel=1", "-cp", path,
                "io.oncewatch.Child"));
        command.addAll(List.of(arguments));
        ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
        builder.environment().put("ONCEWATCH_SOCKET", sidecar.socket.toString());
        builder.environment().put("HOSTNAME", "pod-1");
        Process process = builder.start();
        // Reading comes to an end with the process only.
        Thread limit = Collector.daemon(() -> {
            LockSupport.parkNanos(TimeUnit.SECONDS.toNanos(20));
            process.destroyForcibly();
        });
        String out = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertTrue(limit.isAlive(), "the process did not end by itself");
        process.waitFor();
        return new Done(process.exitValue(), out, process.pid());
    }

    @Test
    void theEndOfAProcessFlushesAndNothingKeepsItAlive() throws Exception {
        Collector collector = sidecar.collector();
        Done done = run(OURS, "many", "300");
        assertEquals(new Done(0, "", done.pid), done);
        List<JsonNode> events = collector.await(900);
        List<String> expected = IntStream.range(0, 900).mapToObj(index -> String.valueOf(index / 3)).toList();
        assertEquals(expected, AttemptTest.texts(events, "token"));
        assertEquals("pod-1/" + done.pid, events.get(0).get("client").asText());
    }

    @Test
    void theEndIsNotHeldUpByAStalledSidecar() throws Exception {
        Collector collector = sidecar.collector();
        collector.paused = true;
        Done done = run(OURS, "until stalled");
        String[] said = done.out.strip().split(" ");
        long tookMillis = System.currentTimeMillis() - Long.parseLong(said[1]);
        assertEquals(0, done.exitCode);
        assertTrue(Integer.parseInt(said[0]) > 0, "nothing was stalled");
        assertTrue(tookMillis >= 190 && tookMillis < 1500, "ended after " + tookMillis + " ms");
    }

    @Test
    void withoutASidecarAProcessEndsSilently() throws Exception {
        Done done = run(OURS, "many", "10");
        assertEquals(new Done(0, "", done.pid), done);
    }

    @Test
    void anEventOfTheLastMomentIsNoError() throws Exception {
        Done done = run(OURS, "exit hook");
        assertEquals(new Done(3, "", done.pid), done);
    }

    @Test
    void aDeadConnectionDoesNotKillBySigpipe() throws Exception {
        ServerSocketChannel listener = Collector.listen(sidecar.socket);
        Thread accepting = Collector.daemon(() -> {
            try {
                listener.accept().close();
            } catch (IOException closed) {
                // Then the child never connected, and join() below ends.
            }
        });
        Done done = run(OURS, "slowly");
        accepting.join(1000);
        assertTrue(!accepting.isAlive(), "the child never connected");
        listener.close();
        assertEquals(new Done(0, "alive\n", done.pid), done);
    }

    @Test
    void aProcessWithAnotherServiceOnly() throws Exception {
        Done done = run(entry -> !entry.contains("/dynamodb/") && !entry.contains("opentelemetry"), "other service");
        assertTrue(done.out.endsWith("failures 0\n") && done.exitCode == 0, done.out);
    }

    /** As in an application server that shares the SDK: attribute names are unique in it. */
    @Test
    void twoClassLoadersMayEachHaveThisClient() throws Exception {
        ClassLoader ours = new ClassLoader(getClass().getClassLoader()) {
            @Override
            protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
                if (!name.startsWith("io.oncewatch.")) {
                    return super.loadClass(name, resolve);
                }
                Class<?> loaded = findLoadedClass(name);
                if (loaded != null) {
                    return loaded;
                }
                try (InputStream in = getParent().getResourceAsStream(name.replace('.', '/') + ".class")) {
                    byte[] bytes = in.readAllBytes();
                    return defineClass(name, bytes, 0, bytes.length);
                } catch (IOException unreadable) {
                    throw new ClassNotFoundException(name, unreadable);
                }
            }
        };
        assertInstanceOf(ExecutionInterceptor.class, new OncewatchInterceptor());
        Object other = ours.loadClass(OncewatchInterceptor.class.getName()).getConstructor().newInstance();
        assertNotSame(OncewatchInterceptor.class, other.getClass());
        assertInstanceOf(ExecutionInterceptor.class, other);
    }
}
