package io.oncewatch;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.awscore.exception.AwsServiceException;
import software.amazon.awssdk.awscore.retry.AwsRetryStrategy;
import software.amazon.awssdk.core.exception.SdkException;
import software.amazon.awssdk.core.util.VersionInfo;
import software.amazon.awssdk.http.apache5.Apache5HttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.dynamodb.DynamoDbClient;
import software.amazon.awssdk.services.dynamodb.model.AttributeValue;
import software.amazon.awssdk.services.dynamodb.model.ParameterizedStatement;
import software.amazon.awssdk.services.dynamodb.model.ReturnConsumedCapacity;
import software.amazon.awssdk.services.dynamodb.model.TransactWriteItem;

/** Runs the scenarios that all clients share: one JSON job per line on stdin, one result per finished job on stdout. */
public final class Driver {
    private static final ObjectMapper JSON = new ObjectMapper();

    private Driver() {}

    /** Ends at the end of stdin, when all jobs are done. */
    public static void main(String[] arguments) throws Exception {
        say(Map.of("ready", true, "language", "java", "sdk", "aws-sdk-java-v2 " + VersionInfo.SDK_VERSION));
        List<Thread> background = new ArrayList<>();
        BufferedReader jobs = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = jobs.readLine(); line != null; line = jobs.readLine()) {
            if (line.isBlank()) {
                continue;
            }
            JsonNode job = JSON.readTree(line);
            Thread thread = new Thread(() -> finish(job));
            thread.start();
            if (job.path("background").asBoolean()) {
                background.add(thread);
            } else {
                thread.join();
            }
        }
        for (Thread thread : background) {
            thread.join();
        }
    }

    private static synchronized void say(Map<String, Object> message) {
        try {
            System.out.println(JSON.writeValueAsString(message));
            System.out.flush();
        } catch (Exception impossible) {
            throw new IllegalStateException(impossible);
        }
    }

    private static void finish(JsonNode job) {
        String outcome;
        try {
            outcome = switch (job.get("op").asText()) {
                case "transact" -> transact(job);
                case "execute" -> execute(job);
                case "generic" -> generic(job);
                default -> throw new IllegalArgumentException("no such op: " + job);
            };
        } catch (AwsServiceException answered) {
            outcome = answered.awsErrorDetails().errorCode();
        } catch (SdkException unanswered) {
            outcome = "no_response";
        }
        say(Map.of("id", job.get("id").asText(), "outcome", outcome));
    }

    private static DynamoDbClient client(JsonNode job) {
        Duration readTimeout = Duration.ofMillis(job.path("read_timeout_ms").asLong(10_000));
        int attempts = job.path("max_attempts").asInt(4);
        return DynamoDbClient.builder()
                .endpointOverride(URI.create(job.get("endpoint").asText()))
                .region(Region.EU_WEST_1)
                .credentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create("test", "test")))
                .httpClientBuilder(Apache5HttpClient.builder().socketTimeout(readTimeout))
                .overrideConfiguration(o -> o.retryStrategy(
                        AwsRetryStrategy.standardRetryStrategy().toBuilder().maxAttempts(attempts).build()))
                .build();
    }

    private static String transact(JsonNode job) {
        String table = job.get("table").asText();
        AttributeValue amount = AttributeValue.fromN(job.path("amount").asText("1"));
        List<TransactWriteItem> items = new ArrayList<>();
        items.add(TransactWriteItem.builder()
                .update(u -> u.tableName(table).key(Map.of("id", AttributeValue.fromS("counter")))
                        .updateExpression("ADD n :amount").expressionAttributeValues(Map.of(":amount", amount)))
                .build());
        String needs = job.path("needs").asText(null);
        if (needs != null) {
            items.add(TransactWriteItem.builder()
                    .conditionCheck(c -> c.tableName(table).key(Map.of("id", AttributeValue.fromS(needs)))
                            .conditionExpression("attribute_exists(id)"))
                    .build());
        }
        try (DynamoDbClient client = client(job)) {
            client.transactWriteItems(r -> r.transactItems(items).clientRequestToken(job.path("token").asText(null))
                    .returnConsumedCapacity(capacity(job)));
        }
        return "ok";
    }

    private static String execute(JsonNode job) {
        String statement = "INSERT INTO \"%s\" VALUE {'id': '%s'}"
                .formatted(job.get("table").asText(), job.get("identity").asText());
        try (DynamoDbClient client = client(job)) {
            client.executeTransaction(r -> r.clientRequestToken(job.path("token").asText(null))
                    .transactStatements(ParameterizedStatement.builder().statement(statement).build())
                    .returnConsumedCapacity(capacity(job)));
        }
        return "ok";
    }

    private static ReturnConsumedCapacity capacity(JsonNode job) {
        return job.path("return_consumed").asBoolean() ? ReturnConsumedCapacity.TOTAL : null;
    }

    private static String generic(JsonNode job) {
        Attempt attempt = Oncewatch.begin(job.get("api").asText(), job.get("token").asText(), o -> o
                .body(job.path("body").asText(null)).tokenField(job.path("token_field").asText(null))
                .call(job.path("call").asText(null)).attempt(job.path("attempt").asInt(1))
                .maxAttempts(job.path("max_attempts").asInt(0)));
        String outcome = job.get("outcome").asText();
        attempt.end(Outcome.valueOf(outcome.toUpperCase(java.util.Locale.ROOT)), a -> a
                .error(job.path("error").asText(null)).httpStatus(job.path("http_status").asInt(-1)));
        if (job.path("end_call").asBoolean()) {
            attempt.endCall();
        }
        return outcome;
    }
}
