package io.oncewatch;

import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.StandardSocketOptions;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;

/** One connection to the sidecar's stream socket. */
final class Connection implements AutoCloseable {
    private static final long CHECK_NANOS = 1_000_000_000L;

    final long sinceNanos;
    private final Path path;
    private final Object identity;
    private final SocketChannel channel;
    private final Selector selector;
    private long checkedNanos;

    private Connection(Path path, Object identity, SocketChannel channel, Selector selector, long now) {
        this.path = path;
        this.identity = identity;
        this.channel = channel;
        this.selector = selector;
        this.sinceNanos = now;
        this.checkedNanos = now;
    }

    /** Only the sender waits here, if at all: for a listener whose queue is full. */
    static Connection open(Path path, int sendBufferBytes, long now) throws IOException {
        SocketChannel channel = SocketChannel.open(StandardProtocolFamily.UNIX);
        Selector selector = null;
        try {
            channel.connect(UnixDomainSocketAddress.of(path));
            channel.configureBlocking(false);
            if (sendBufferBytes > 0) {
                channel.setOption(StandardSocketOptions.SO_SNDBUF, sendBufferBytes);
            }
            selector = Selector.open();
            channel.register(selector, SelectionKey.OP_WRITE);
            return new Connection(path, identity(path), channel, selector, now);
        } catch (IOException | RuntimeException failure) {
            channel.close();
            if (selector != null) {
                selector.close();
            }
            throw failure;
        }
    }

    /** Writes what the socket takes within the time; possibly nothing, possibly a part of a line. */
    int write(ByteBuffer bytes, long timeoutMillis) throws IOException {
        int written = channel.write(bytes);
        if (written == 0 && bytes.hasRemaining()) {
            selector.select(timeoutMillis);
            selector.selectedKeys().clear();
            written = channel.write(bytes);
        }
        return written;
    }

    /** Whether another socket lies at the path; looked up once a second at most. */
    boolean isReplaced(long now) {
        if (now - checkedNanos < CHECK_NANOS) {
            return false;
        }
        checkedNanos = now;
        try {
            return !identity(path).equals(identity);
        } catch (IOException absent) {
            return false;
        }
    }

    /** Of the socket itself, if the path is a link to it. */
    private static Object identity(Path path) throws IOException {
        Object key = Files.readAttributes(path, BasicFileAttributes.class).fileKey();
        return key == null ? path : key;
    }

    @Override
    public void close() {
        for (AutoCloseable part : new AutoCloseable[] {selector, channel}) {
            try {
                part.close();
            } catch (Exception alreadyBroken) {
                // Nobody is interested in how a connection ended that is not used any more.
            }
        }
    }
}
