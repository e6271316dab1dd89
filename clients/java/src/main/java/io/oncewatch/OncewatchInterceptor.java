package io.oncewatch;

import java.io.InputStream;
import java.nio.ByteBuffer;
import java.util.Optional;
import java.util.UUID;
import org.reactivestreams.Publisher;
import software.amazon.awssdk.awscore.AwsExecutionAttribute;
import software.amazon.awssdk.core.ClientType;
import software.amazon.awssdk.core.interceptor.Context;
import software.amazon.awssdk.core.interceptor.ExecutionAttribute;
import software.amazon.awssdk.core.interceptor.ExecutionAttributes;
import software.amazon.awssdk.core.interceptor.ExecutionInterceptor;
import software.amazon.awssdk.core.interceptor.SdkExecutionAttribute;
import software.amazon.awssdk.http.SdkHttpRequest;
import software.amazon.awssdk.http.SdkHttpResponse;
import software.amazon.awssdk.regions.Region;

/**
 * Reports each attempt of {@code TransactWriteItems} and {@code ExecuteTransaction}.
 *
 * <p>The SDK finds it by itself when this jar is on the class path. Add it to a client's override configuration to give
 * it a scope; the call is then reported once, by that one.
 *
 * <p>The SDK tells interceptors when an attempt begins and when an answer arrives, but not when an attempt fails without
 * an answer: such an attempt ends here when the next one begins or the call fails. All hooks run in the application's or
 * the SDK's threads, do no I/O and throw nothing.
 */
public final class OncewatchInterceptor implements ExecutionInterceptor {
    private static final String SERVICE = "DynamoDb";
    private static final ExecutionAttribute<SdkCall> CALL = callAttribute();

    private final String scope;

    /** The scope of the tokens is the client's Region. */
    public OncewatchInterceptor() {
        this(null);
    }

    /**
     * {@code scope} is the namespace of the tokens, e.g. {@code 123456789012/eu-west-1}, at most 256 bytes: the SDK does
     * not know the account.
     */
    public OncewatchInterceptor(String scope) {
        this.scope = scope;
    }

    /** Names are unique in a process: with the SDK shared by two class loaders, both with this class, one is taken. */
    private static ExecutionAttribute<SdkCall> callAttribute() {
        try {
            return new ExecutionAttribute<>("OncewatchCall");
        } catch (IllegalArgumentException taken) {
            return new ExecutionAttribute<>("OncewatchCall-" + UUID.randomUUID());
        }
    }

    @Override
    public void beforeExecution(Context.BeforeExecution context, ExecutionAttributes attributes) {
        guarded(() -> {
            if (!SERVICE.equals(attributes.getAttribute(SdkExecutionAttribute.SERVICE_NAME))) {
                return;
            }
            String api = DynamoDbCalls.api(attributes.getAttribute(SdkExecutionAttribute.OPERATION_NAME));
            if (api == null) {
                return;
            }
            // The last interceptor, the explicit one, is the one whose call it is.
            attributes.putAttribute(CALL, new SdkCall(this, Oncewatch.sender(), api, scope(attributes)));
        });
    }

    private String scope(ExecutionAttributes attributes) {
        if (scope != null) {
            return scope;
        }
        Region region = attributes.getAttribute(AwsExecutionAttribute.AWS_REGION);
        return region == null ? "" : region.id();
    }

    @Override
    public void afterMarshalling(Context.AfterMarshalling context, ExecutionAttributes attributes) {
        guarded(() -> {
            SdkCall call = ownCall(attributes);
            if (call != null) {
                // Not earlier: another interceptor may have put a token into the request.
                call.marshalled(context.requestBody().orElse(null), DynamoDbCalls.tokenOrigin(context.request()));
            }
        });
    }

    @Override
    public void beforeTransmission(Context.BeforeTransmission context, ExecutionAttributes attributes) {
        guarded(() -> {
            SdkCall call = ownCall(attributes);
            if (call != null) {
                SdkHttpRequest request = context.httpRequest();
                call.attemptBegins(
                        request.firstMatchingHeader("amz-sdk-invocation-id").orElse(null),
                        request.firstMatchingHeader("amz-sdk-request").orElse(""));
            }
        });
    }

    @Override
    public Optional<InputStream> modifyHttpResponseContent(
            Context.ModifyHttpResponse context, ExecutionAttributes attributes) {
        Optional<InputStream> content = context.responseBody();
        try {
            ErrorAnswer error = errorAnswer(context.httpResponse(), attributes, ClientType.SYNC);
            if (error == null) {
                return content;
            }
            if (content.isEmpty()) {
                error.complete();
                return content;
            }
            return Optional.of(error.observing(content.get()));
        } catch (Throwable failure) {
            Oncewatch.sender().countFailure(failure);
            return content;
        }
    }

    @Override
    public Optional<Publisher<ByteBuffer>> modifyAsyncHttpResponseContent(
            Context.ModifyHttpResponse context, ExecutionAttributes attributes) {
        Optional<Publisher<ByteBuffer>> content = context.responsePublisher();
        try {
            ErrorAnswer error = errorAnswer(context.httpResponse(), attributes, ClientType.ASYNC);
            return error == null || content.isEmpty() ? content : Optional.of(error.observing(content.get()));
        } catch (Throwable failure) {
            Oncewatch.sender().countFailure(failure);
            return content;
        }
    }

    /** {@code null} for a success, a call of others, and for the hook of the other kind of client, which also runs. */
    private ErrorAnswer errorAnswer(SdkHttpResponse response, ExecutionAttributes attributes, ClientType hook) {
        SdkCall call = ownCall(attributes);
        boolean relevant = call != null
                && !response.isSuccessful()
                && attributes.getAttribute(SdkExecutionAttribute.CLIENT_TYPE) == hook;
        return relevant ? call.errorArrives(response) : null;
    }

    @Override
    public void afterUnmarshalling(Context.AfterUnmarshalling context, ExecutionAttributes attributes) {
        guarded(() -> {
            SdkCall call = ownCall(attributes);
            if (call != null) {
                Answer answer = SdkCall.answer(Outcome.OK, context.httpResponse());
                DynamoDbCalls.addUnits(context.response(), answer);
                call.attemptEnds(answer);
            }
        });
    }

    @Override
    public void afterExecution(Context.AfterExecution context, ExecutionAttributes attributes) {
        guarded(() -> {
            SdkCall call = ownCall(attributes);
            if (call != null) {
                call.ends();
            }
        });
    }

    @Override
    public void onExecutionFailure(Context.FailedExecution context, ExecutionAttributes attributes) {
        guarded(() -> {
            SdkCall call = ownCall(attributes);
            if (call != null) {
                call.fails(context.exception());
            }
        });
    }

    private SdkCall ownCall(ExecutionAttributes attributes) {
        SdkCall call = attributes.getAttribute(CALL);
        return call != null && call.owner == this ? call : null;
    }

    private static void guarded(Runnable hook) {
        try {
            hook.run();
        } catch (Throwable failure) {
            Oncewatch.sender().countFailure(failure);
        }
    }
}
