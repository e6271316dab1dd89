package io.oncewatch;

import java.util.List;
import software.amazon.awssdk.core.SdkRequest;
import software.amazon.awssdk.core.SdkResponse;
import software.amazon.awssdk.services.dynamodb.model.ConsumedCapacity;
import software.amazon.awssdk.services.dynamodb.model.ExecuteTransactionRequest;
import software.amazon.awssdk.services.dynamodb.model.ExecuteTransactionResponse;
import software.amazon.awssdk.services.dynamodb.model.TransactWriteItemsRequest;
import software.amazon.awssdk.services.dynamodb.model.TransactWriteItemsResponse;

/** What is particular to DynamoDB; not loaded in a process that uses other services only. */
final class DynamoDbCalls {
    static final String TOKEN_FIELD = "ClientRequestToken";
    static final List<String> IGNORED_FIELDS = List.of("ReturnConsumedCapacity", "ReturnItemCollectionMetrics");

    private DynamoDbCalls() {}

    /** The sidecar's profile of an operation that takes a token, else {@code null}. */
    static String api(String operation) {
        return switch (operation) {
            case "TransactWriteItems" -> "dynamodb.TransactWriteItems";
            case "ExecuteTransaction" -> "dynamodb.ExecuteTransaction";
            default -> null;
        };
    }

    /** The SDK fills in a missing token while it writes the body, never in the request object. */
    static TokenOrigin tokenOrigin(SdkRequest request) {
        String token = null;
        if (request instanceof TransactWriteItemsRequest transaction) {
            token = transaction.clientRequestToken();
        } else if (request instanceof ExecuteTransactionRequest transaction) {
            token = transaction.clientRequestToken();
        }
        return token == null ? TokenOrigin.SDK : TokenOrigin.CALLER;
    }

    /** Sums over the tables of an answer; nothing where no table tells. */
    static void addUnits(SdkResponse response, Answer answer) {
        List<ConsumedCapacity> tables = List.of();
        if (response instanceof TransactWriteItemsResponse written) {
            tables = written.consumedCapacity();
        } else if (response instanceof ExecuteTransactionResponse executed) {
            tables = executed.consumedCapacity();
        }
        for (ConsumedCapacity table : tables) {
            answer.readUnits = sum(answer.readUnits, table.readCapacityUnits());
            answer.writeUnits = sum(answer.writeUnits, table.writeCapacityUnits());
        }
    }

    private static double sum(double sofar, Double more) {
        if (more == null) {
            return sofar;
        }
        return Double.isNaN(sofar) ? more : sofar + more;
    }
}
