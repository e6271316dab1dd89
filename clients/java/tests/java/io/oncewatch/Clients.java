package io.oncewatch;

import java.net.URI;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.function.Consumer;
import java.util.function.Function;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.awscore.retry.AwsRetryStrategy;
import software.amazon.awssdk.core.client.config.ClientOverrideConfiguration;
import software.amazon.awssdk.http.SdkHttpClient;
import software.amazon.awssdk.http.apache5.Apache5HttpClient;
import software.amazon.awssdk.http.async.SdkAsyncHttpClient;
import software.amazon.awssdk.http.nio.netty.NettyNioAsyncHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbClient;
import software.amazon.awssdk.services.dynamodb.model.AttributeValue;
import software.amazon.awssdk.services.dynamodb.model.TransactWriteItem;
import software.amazon.awssdk.services.dynamodb.model.TransactWriteItemsRequest;
import software.amazon.awssdk.services.dynamodb.model.TransactWriteItemsResponse;

/** The SDK's two kinds of client, which differ in threads and in the hooks they call. */
enum Clients {
    SYNC,
    ASYNC;

    /** Shared, because the asynchronous one takes 2 s to close. */
    private static final SdkHttpClient SYNC_HTTP = Apache5HttpClient.create();

    private static final SdkAsyncHttpClient ASYNC_HTTP = NettyNioAsyncHttpClient.create();

    static DynamoDbClient sync(URI url, Consumer<ClientOverrideConfiguration.Builder> configure) {
        return DynamoDbClient.builder().httpClient(SYNC_HTTP).endpointOverride(url).region(Region.EU_WEST_1).credentialsProvider(credentials())
                .overrideConfiguration(configure).build();
    }

    static DynamoDbAsyncClient async(URI url, Consumer<ClientOverrideConfiguration.Builder> configure) {
        return DynamoDbAsyncClient.builder().httpClient(ASYNC_HTTP).endpointOverride(url).region(Region.EU_WEST_1)
                .credentialsProvider(credentials()).overrideConfiguration(configure).build();
    }

    private static StaticCredentialsProvider credentials() {
        return StaticCredentialsProvider.create(AwsBasicCredentials.create("test", "test"));
    }

    /** Standard retries; the number includes the first attempt. */
    static Consumer<ClientOverrideConfiguration.Builder> attempts(int max, Duration attemptTimeout) {
        return override -> override
                .retryStrategy(AwsRetryStrategy.standardRetryStrategy().toBuilder().maxAttempts(max).build())
                .apiCallAttemptTimeout(attemptTimeout);
    }

    /** One call by this kind of client; throws what the application would be thrown. */
    TransactWriteItemsResponse transact(
            URI url, TransactWriteItemsRequest request, Consumer<ClientOverrideConfiguration.Builder> configure)
            throws Exception {
        if (this == SYNC) {
            try (DynamoDbClient client = sync(url, configure)) {
                return client.transactWriteItems(request);
            }
        }
        try (DynamoDbAsyncClient client = async(url, configure)) {
            return client.transactWriteItems(request).get();
        } catch (ExecutionException failed) {
            throw (Exception) failed.getCause();
        }
    }

    static TransactWriteItemsRequest request(String token) {
        Function<String, AttributeValue> number = AttributeValue::fromN;
        TransactWriteItem add = TransactWriteItem.builder()
                .update(u -> u.tableName("counters").key(Map.of("id", AttributeValue.fromS("counter")))
                        .updateExpression("ADD n :amount").expressionAttributeValues(Map.of(":amount", number.apply("1"))))
                .build();
        return TransactWriteItemsRequest.builder().transactItems(List.of(add)).clientRequestToken(token).build();
    }
}
