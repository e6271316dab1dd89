package io.oncewatch;

import java.util.function.Consumer;

/**
 * One request on the wire, begun; end it once.
 *
 * <p>No method throws, whatever it is given, and all may be called by any thread. An attempt that is garbage collected
 * without an end is reported as {@link Outcome#NO_RESPONSE}: whoever waited for the answer is gone.
 */
public final class Attempt implements AutoCloseable {
    private final Sender sender;
    private final Progress progress;
    private OpenHandles.Handle handle;

    Attempt(Sender sender, Progress progress) {
        this.sender = sender;
        this.progress = progress;
    }

    void watch() {
        Progress watched = progress;
        handle = sender.openHandles.watch(this, () -> {
            if (watched.isOpen()) {
                watched.end(Answer.of(Outcome.NO_RESPONSE), false);
            }
        });
    }

    /** Reports how the request ended; only the first end counts. */
    public void end(Outcome outcome) {
        end(outcome, answer -> {});
    }

    /** Likewise, with what is known of the answer: {@code attempt.end(Outcome.OK, a -> a.httpStatus(200))}. */
    public void end(Outcome outcome, Consumer<Answer> details) {
        guarded(() -> {
            Answer answer = Answer.of(outcome);
            try {
                details.accept(answer);
            } catch (Throwable failure) {
                sender.countFailure(failure);
            }
            progress.end(answer, true);
        });
    }

    /**
     * Reports that the call is over, with the outcome of this, its last attempt. Only needed for attempts that were given
     * a {@code call}: another one is a call of its own and ends it.
     */
    public void endCall() {
        guarded(progress::endCall);
    }

    /** Ends the attempt as {@link Outcome#NO_RESPONSE} unless it has ended: an exception came in between. */
    @Override
    public void close() {
        end(Outcome.NO_RESPONSE);
    }

    private void guarded(Runnable report) {
        try {
            report.run();
            if (handle != null) {
                handle.ended();
            }
        } catch (Throwable failure) {
            sender.countFailure(failure);
        }
    }
}
