package io.oncewatch;

import java.lang.ref.PhantomReference;
import java.lang.ref.ReferenceQueue;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Notices what the application or the SDK lets go of without an end.
 *
 * <p>An asynchronous client says nothing when its API call timeout ends a call: that the garbage collector finds the
 * call's state is then the only sign. References instead of a {@code Cleaner}, which would be one more thread.
 */
final class OpenHandles {
    private final ReferenceQueue<Object> abandoned = new ReferenceQueue<>();
    private final Set<Handle> open = ConcurrentHashMap.newKeySet();

    final class Handle extends PhantomReference<Object> {
        private final Runnable onAbandoned;

        private Handle(Object handle, Runnable onAbandoned) {
            super(handle, abandoned);
            this.onAbandoned = onAbandoned;
        }

        /** It has ended as it should. */
        void ended() {
            open.remove(this);
            clear();
        }
    }

    /** {@code onAbandoned}, which must not refer to {@code handle}, runs on the sender's thread. */
    Handle watch(Object handle, Runnable onAbandoned) {
        Handle watched = new Handle(handle, onAbandoned);
        open.add(watched);
        return watched;
    }

    boolean isEmpty() {
        return open.isEmpty();
    }

    void endAbandoned() {
        for (Object found = abandoned.poll(); found != null; found = abandoned.poll()) {
            Handle handle = (Handle) found;
            open.remove(handle);
            handle.onAbandoned.run();
        }
    }
}
