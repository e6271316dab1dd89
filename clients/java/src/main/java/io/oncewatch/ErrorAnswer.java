package io.oncewatch;

import java.io.ByteArrayOutputStream;
import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.reactivestreams.Publisher;
import org.reactivestreams.Subscriber;
import org.reactivestreams.Subscription;
import software.amazon.awssdk.http.SdkHttpResponse;

/**
 * Ends an attempt that was answered with an error, when the error's body has arrived.
 *
 * <p>Only the last attempt's error reaches an interceptor as an exception. The code of the others is in their bodies,
 * which are looked at while the SDK reads them; its bytes and timing stay as they are.
 */
final class ErrorAnswer {
    /** A cancelled transaction may carry whole items; the code stands at the beginning. */
    private static final int BODY_BYTES_MAX = 256 * 1024;

    private final Sender sender;
    private final Progress attempt;
    private final SdkHttpResponse response;
    private final ByteArrayOutputStream seen = new ByteArrayOutputStream();
    private boolean cut;

    ErrorAnswer(Sender sender, Progress attempt, SdkHttpResponse response) {
        this.sender = sender;
        this.attempt = attempt;
        this.response = response;
    }

    /**
     * The whole body has been read. If it was too long to keep and its code stands behind the end, the attempt stays open:
     * should it be the last one, the exception tells the code.
     */
    void complete() {
        try {
            Answer answer = SdkCall.answer(Outcome.ERROR, response);
            String code = code();
            answer.error(code);
            if (code == null && cut) {
                attempt.expect(answer);
            } else {
                attempt.end(answer, true);
            }
        } catch (Throwable failure) {
            sender.countFailure(failure);
        }
    }

    private String code() {
        String code = response.firstMatchingHeader("x-amzn-ErrorType").orElse(null);
        return withoutNamespace(code == null ? codeIn(seen.toString(StandardCharsets.UTF_8)) : code);
    }

    private static String codeIn(String body) {
        Json type = new Json(body, "__type");
        try {
            if (type.read() instanceof Map<?, ?> members && type.wanted == null) {
                return members.get("code") instanceof String code ? code : null;
            }
        } catch (Json.NotJson cutOrNoJson) {
            // The field may have come before the place where reading ended.
        }
        return type.wanted;
    }

    private static String withoutNamespace(String code) {
        if (code == null) {
            return null;
        }
        int suffix = code.indexOf(':');
        String name = suffix < 0 ? code : code.substring(0, suffix);
        return name.substring(name.lastIndexOf('#') + 1);
    }

    private void see(byte[] bytes, int offset, int length) {
        int room = BODY_BYTES_MAX - seen.size();
        cut |= length > room;
        seen.write(bytes, offset, Math.min(length, room));
    }

    private void see(ByteBuffer bytes) {
        try {
            byte[] copy = new byte[Math.min(bytes.remaining(), BODY_BYTES_MAX - seen.size())];
            cut |= copy.length < bytes.remaining();
            bytes.duplicate().get(copy);
            see(copy, 0, copy.length);
        } catch (Throwable failure) {
            sender.countFailure(failure);
        }
    }

    InputStream observing(InputStream content) {
        return new FilterInputStream(content) {
            @Override
            public int read() throws IOException {
                int octet = in.read();
                if (octet < 0) {
                    complete();
                } else {
                    see(new byte[] {(byte) octet}, 0, 1);
                }
                return octet;
            }

            @Override
            public int read(byte[] bytes, int offset, int length) throws IOException {
                int count = in.read(bytes, offset, length);
                if (count < 0) {
                    complete();
                } else {
                    see(bytes, offset, count);
                }
                return count;
            }

            @Override
            public boolean markSupported() {
                return false;
            }
        };
    }

    Publisher<ByteBuffer> observing(Publisher<ByteBuffer> content) {
        return subscriber -> content.subscribe(new Subscriber<>() {
            @Override
            public void onSubscribe(Subscription subscription) {
                subscriber.onSubscribe(subscription);
            }

            @Override
            public void onNext(ByteBuffer bytes) {
                see(bytes);
                subscriber.onNext(bytes);
            }

            @Override
            public void onError(Throwable failure) {
                subscriber.onError(failure);
            }

            @Override
            public void onComplete() {
                complete();
                subscriber.onComplete();
            }
        });
    }
}
