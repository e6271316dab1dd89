package io.oncewatch;

/** The state of one attempt, apart from the {@link Attempt} that the application holds and may let go of. */
final class Progress {
    private final Sender sender;
    private final Call call;
    private final int number;
    private final boolean ownCall;
    private boolean observed;
    private boolean open = true;
    private boolean callOpen = true;
    private Answer answer = Answer.of(Outcome.NO_RESPONSE);
    private long startedNanos;

    Progress(Sender sender, Call call, int number, boolean ownCall) {
        this.sender = sender;
        this.call = call;
        this.number = number;
        this.ownCall = ownCall;
    }

    /** Without a start, e.g. while the sidecar is absent, the later events are only counted as dropped. */
    static Progress unobserved(Sender sender, int number, boolean ownCall) {
        sender.skip();
        return new Progress(sender, null, number, ownCall);
    }

    synchronized void start(int maxAttempts, String traceparent) {
        startedNanos = System.nanoTime();
        observed = sender.send(new Event.Start(call, number, maxAttempts, traceparent));
    }

    synchronized boolean isOpen() {
        return open;
    }

    int number() {
        return number;
    }

    /** The first end counts. An end that is only inferred later has no known duration. */
    synchronized void end(Answer how, boolean timeKnown) {
        if (!open) {
            return;
        }
        open = false;
        answer = how;
        if (observed) {
            long duration = timeKnown ? System.nanoTime() - startedNanos : -1;
            sender.send(new Event.End(call, number, how, duration));
        } else {
            sender.skip();
        }
        if (ownCall) {
            endCall();
        }
    }

    /** What is known of its answer, should nothing tell more before {@link #endAsKnown}. */
    synchronized void expect(Answer sofar) {
        if (open) {
            answer = sofar;
        }
    }

    /** Without an answer, unless one is expected. */
    synchronized void endAsKnown() {
        end(answer, false);
    }

    /** The call is over, with the outcome of this, its last attempt; an open one ends as far as known. */
    synchronized void endCall() {
        endAsKnown();
        if (!callOpen) {
            return;
        }
        callOpen = false;
        if (observed) {
            long duration = call.startedNanos == 0 ? -1 : System.nanoTime() - call.startedNanos;
            sender.send(new Event.CallEnd(call, number, answer, duration));
        } else {
            sender.skip();
        }
    }
}
