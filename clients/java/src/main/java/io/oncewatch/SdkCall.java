package io.oncewatch;

import java.io.IOException;
import java.io.InputStream;
import software.amazon.awssdk.awscore.exception.AwsServiceException;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.http.SdkHttpResponse;

/** One logical SDK call, kept in its execution attributes. Its hooks may run in different threads. */
final class SdkCall {
    final OncewatchInterceptor owner;
    private final Sender sender;
    private final String api;
    private final String scope;
    private final String traceparent;
    private final long startedNanos = System.nanoTime();
    private final Last last = new Last();
    private RequestBody body;
    private TokenOrigin tokenOrigin;
    private Call call;
    private OpenHandles.Handle handle;

    /** Apart from the call, because it must not keep the call from being garbage collected. */
    private static final class Last {
        private Progress attempt;

        synchronized void set(Progress attempt) {
            this.attempt = attempt;
        }

        synchronized Progress get() {
            return attempt;
        }

        void endCall() {
            Progress attempt = get();
            if (attempt != null) {
                attempt.endCall();
            }
        }
    }

    SdkCall(OncewatchInterceptor owner, Sender sender, String api, String scope) {
        this.owner = owner;
        this.sender = sender;
        this.api = api;
        this.scope = scope;
        // Later hooks of an asynchronous client run in threads that know nothing of the caller's span.
        this.traceparent = TraceContext.traceparent();
    }

    /** The body as the SDK wrote it: it can be read again and again, which a body by another interceptor may not be. */
    synchronized void marshalled(RequestBody body, TokenOrigin tokenOrigin) {
        this.body = body;
        this.tokenOrigin = tokenOrigin;
    }

    /** {@code header} is {@code amz-sdk-request}: {@code attempt=1; max=4}. */
    synchronized void attemptBegins(String invocationId, String header) {
        Progress former = last.get();
        if (former != null) {
            former.endAsKnown();
        }
        int number = Math.max(number(header, "attempt="), former == null ? 1 : former.number() + 1);
        if (!sender.accepting() || body == null) {
            last.set(Progress.unobserved(sender, number, false));
            return;
        }
        try {
            if (call == null) {
                describe(invocationId);
            }
        } catch (Throwable failure) {
            sender.countFailure(failure);
            last.set(Progress.unobserved(sender, number, false));
            return;
        }
        Progress attempt = new Progress(sender, call, number, false);
        last.set(attempt);
        attempt.start(number(header, "max="), traceparent);
    }

    private void describe(String invocationId) {
        Call described = new Call(api, invocationId == null ? Oncewatch.newCallId() : invocationId, scope, tokenOrigin);
        described.tokenField = DynamoDbCalls.TOKEN_FIELD;
        described.ignoredFields = DynamoDbCalls.IGNORED_FIELDS;
        described.startedNanos = startedNanos;
        described.body(new MarshalledBody(body), sender.client());
        call = described;
        handle = sender.openHandles.watch(this, last::endCall);
    }

    private record MarshalledBody(RequestBody body) implements Call.Body {
        @Override
        public int length() {
            return body.optionalContentLength().map(Math::toIntExact).orElse(0);
        }

        @Override
        public byte[] read() throws IOException {
            try (InputStream bytes = body.contentStreamProvider().newStream()) {
                return bytes.readAllBytes();
            }
        }
    }

    private static int number(String header, String name) {
        int start = header.indexOf(name);
        int value = 0;
        if (start >= 0) {
            for (int index = start + name.length(); index < header.length(); index++) {
                int digit = header.charAt(index) - '0';
                if (digit < 0 || digit > 9 || value > 100_000) {
                    break;
                }
                value = value * 10 + digit;
            }
        }
        return value;
    }

    /** {@code null} before the first attempt. */
    ErrorAnswer errorArrives(SdkHttpResponse response) {
        Progress attempt = last.get();
        return attempt == null ? null : new ErrorAnswer(sender, attempt, response);
    }

    void attemptEnds(Answer answer) {
        Progress attempt = last.get();
        if (attempt != null) {
            attempt.end(answer, true);
        }
    }

    /** What a response tells in its head. */
    static Answer answer(Outcome outcome, SdkHttpResponse response) {
        Answer answer = Answer.of(outcome);
        if (response != null) {
            answer.httpStatus = response.statusCode();
            answer.requestId(response.firstMatchingHeader("x-amzn-RequestId")
                    .or(() -> response.firstMatchingHeader("x-amz-request-id"))
                    .orElse(null));
        }
        return answer;
    }

    void fails(Throwable failure) {
        Progress attempt = last.get();
        if (attempt != null && failure instanceof AwsServiceException answered) {
            Answer answer = Answer.of(Outcome.ERROR);
            answer.error(answered.awsErrorDetails() == null ? null : answered.awsErrorDetails().errorCode());
            answer.httpStatus(answered.statusCode()).requestId(answered.requestId());
            attempt.end(answer, false);
        }
        ends();
    }

    synchronized void ends() {
        last.endCall();
        if (handle != null) {
            handle.ended();
        }
    }
}
