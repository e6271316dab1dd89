package io.oncewatch;

import java.time.Duration;
import java.util.List;
import software.amazon.awssdk.core.interceptor.ExecutionAttributes;
import software.amazon.awssdk.core.interceptor.SdkExecutionAttribute;

/** What {@link ProcessTest} runs in processes of their own. */
public final class Child {
    private Child() {}

    /** The first argument names the scenario. */
    public static void main(String[] arguments) throws Exception {
        switch (arguments[0]) {
            case "many" -> report(Integer.parseInt(arguments[1]), "");
            case "until stalled" -> {
                do {
                    report(100, "x".repeat(400));
                } while (Oncewatch.flush(Duration.ofMillis(500)));
                System.out.println(Oncewatch.stats().pending() + " " + System.currentTimeMillis());
            }
            case "slowly" -> {
                for (int index = 0; index < 20; index++) {
                    report(1, "");
                    Thread.sleep(10);
                }
                System.out.println("alive");
            }
            case "exit hook" -> {
                Runtime.getRuntime().addShutdownHook(new Thread(() -> report(1, "in a hook")));
                System.exit(3);
            }
            case "other service" -> otherService();
            default -> throw new IllegalArgumentException(arguments[0]);
        }
    }

    private static void report(int attempts, String suffix) {
        for (int index = 0; index < attempts; index++) {
            Oncewatch.begin("default", index + suffix).end(Outcome.OK);
        }
    }

    /** The interceptor is in every client's chain, also where there is no DynamoDB. */
    private static void otherService() {
        for (String absent : List.of("software.amazon.awssdk.services.dynamodb.DynamoDbClient", "io.opentelemetry.api.trace.Span")) {
            try {
                Class.forName(absent);
                throw new IllegalStateException(absent + " is there; the test needs a class path without it");
            } catch (ClassNotFoundException expected) {
                System.out.println("without " + absent);
            }
        }
        OncewatchInterceptor interceptor = new OncewatchInterceptor();
        ExecutionAttributes attributes = new ExecutionAttributes();
        attributes.putAttribute(SdkExecutionAttribute.SERVICE_NAME, "S3");
        attributes.putAttribute(SdkExecutionAttribute.OPERATION_NAME, "PutObject");
        interceptor.beforeExecution(null, attributes);
        interceptor.afterMarshalling(null, attributes);
        interceptor.beforeTransmission(null, attributes);
        interceptor.afterUnmarshalling(null, attributes);
        interceptor.afterExecution(null, attributes);
        interceptor.onExecutionFailure(null, attributes);
        System.out.println("failures " + Oncewatch.stats().failures());
    }
}
