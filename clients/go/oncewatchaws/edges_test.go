package oncewatchaws_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go/middleware"

	"github.com/oncewatch/oncewatch/clients/go/internal/peers"
)

// A step that the application adds after the hook is nearer to the wire.
func TestATokenSetByAStepOfTheApplication(t *testing.T) {
	dynamo := startDynamo(t)
	token := newToken()
	set := func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("token", func(
			ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
		) (middleware.InitializeOutput, middleware.Metadata, error) {
			in.Parameters.(*dynamodb.TransactWriteItemsInput).ClientRequestToken = aws.String(token)
			return next.HandleInitialize(ctx, in)
		}), middleware.After)
	}
	client := newClient(dynamo, 4, func(o *dynamodb.Options) { o.APIOptions = append(o.APIOptions, set) })
	if _, err := client.TransactWriteItems(background, transaction("")); err != nil {
		t.Fatal(err)
	}
	var body struct{ ClientRequestToken string }
	if err := json.Unmarshal([]byte(dynamo.Received()[0].Body), &body); err != nil {
		t.Fatal(err)
	}
	expectEqual(t, "sent", body.ClientRequestToken, token)
	expectSummary(t, token, "attempt_start 1", "attempt_end 1 ok", "call_end ok")
}

func TestAnErrorAnswerThatIsNotWhole(t *testing.T) {
	half := `{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","mess`
	for _, c := range []struct {
		name     string
		answer   peers.Answer
		deadline time.Duration
		end      string
	}{
		{"broken off", peers.Answer{Status: 400, Body: half, Failure: "truncated"}, time.Minute, "no_response"},
		{"client timeout", peers.Answer{Status: 400, Body: half, Failure: "stalled"}, time.Minute, "no_response"},
		{"deadline of the context", peers.Answer{Status: 400, Body: half, Failure: "stalled"}, 100 * time.Millisecond, "no_response"},
		{"whole but not JSON", peers.Answer{Status: 400, Body: half}, time.Minute, "error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dynamo := startDynamo(t, c.answer)
			client := newClient(dynamo, 1, func(o *dynamodb.Options) {
				o.HTTPClient = newConfig(1, 300*time.Millisecond).HTTPClient
			})
			token := newToken()
			ctx, cancel := context.WithTimeout(background, c.deadline)
			defer cancel()
			if _, err := client.TransactWriteItems(ctx, transaction(token)); err == nil {
				t.Fatal("no error")
			}
			events := expectSummary(t, token, "attempt_start 1", "attempt_end 1 "+c.end, "call_end "+c.end)
			expectEqual(t, "status told", events[1]["http_status"] != nil, c.end == "error")
		})
	}
}
