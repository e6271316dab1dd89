package oncewatchaws_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	oncewatch "github.com/oncewatch/oncewatch/clients/go"
	"github.com/oncewatch/oncewatch/clients/go/internal/peers"
	"github.com/oncewatch/oncewatch/clients/go/oncewatchaws"
)

var background = context.Background()

func TestSuccessTellsEverything(t *testing.T) {
	dynamo := startDynamo(t, peers.OK(`{"ConsumedCapacity":[{"TableName":"a","ReadCapacityUnits":0.5,"WriteCapacityUnits":4}]}`))
	token := newToken()
	input := transaction(token)
	input.ReturnConsumedCapacity = types.ReturnConsumedCapacityTotal
	if _, err := newClient(dynamo, 4).TransactWriteItems(background, input); err != nil {
		t.Fatal(err)
	}
	events := sidecar.WaitOf(t, "token", token, 3)
	request := dynamo.Received()[0]
	prints := oncewatch.Fingerprint("dynamodb.TransactWriteItems", []byte(request.Body), "ClientRequestToken",
		"ReturnConsumedCapacity", "ReturnItemCollectionMetrics")
	if prints.Token != token || prints.FP == "" {
		t.Fatalf("the body: %s", request.Body)
	}
	host := os.Getenv("HOSTNAME")
	if host == "" {
		host, _ = os.Hostname()
	}
	for _, event := range events {
		for _, name := range []string{"at", "duration_ms"} {
			if number, present := event[name]; present && event.Number(name) <= 0 {
				t.Errorf("%s is %v", name, number)
			}
			delete(event, name)
		}
	}
	common := fmt.Sprintf(`"api":"dynamodb.TransactWriteItems","token":"%s","call":"%s","client":"%s/%d","scope":"eu-west-1"`,
		token, request.Header.Get("amz-sdk-invocation-id"), host, os.Getpid())
	for index, text := range []string{
		`"type":"attempt_start","attempt":1,"max_attempts":4,"token_origin":"caller","fp":"` + prints.FP +
			`","fp_raw":"` + prints.FPRaw + `"`,
		`"type":"attempt_end","attempt":1,"max_attempts":4,"outcome":"ok","http_status":200,"request_id":"REQ1",` +
			`"read_units":0.5,"write_units":4`,
		`"type":"call_end","attempts":1,"outcome":"ok","http_status":200,"request_id":"REQ1"`,
	} {
		var expected peers.Event
		if err := json.Unmarshal([]byte("{"+common+","+text+"}"), &expected); err != nil {
			t.Fatal(err)
		}
		expectEqual(t, "event", events[index], expected)
	}
	expectNoFailures(t)
}

func TestATokenMadeByTheSDK(t *testing.T) {
	dynamo := startDynamo(t)
	input := &dynamodb.ExecuteTransactionInput{TransactStatements: []types.ParameterizedStatement{
		{Statement: aws.String("INSERT INTO t VALUE {'id': 'x'}")},
	}}
	if _, err := newClient(dynamo, 4).ExecuteTransaction(background, input); err != nil {
		t.Fatal(err)
	}
	var body struct{ ClientRequestToken string }
	if err := json.Unmarshal([]byte(dynamo.Received()[0].Body), &body); err != nil {
		t.Fatal(err)
	}
	start := expectSummary(t, body.ClientRequestToken, "attempt_start 1", "attempt_end 1 ok", "call_end ok")[0]
	expectEqual(t, "api", start.Text("api"), "dynamodb.ExecuteTransaction")
	expectEqual(t, "origin", start.Text("token_origin"), "sdk")
	// What the README warns of: the SDK leaves the token in the caller's input, and a second call repeats it.
	expectEqual(t, "input", aws.ToString(input.ClientRequestToken), body.ClientRequestToken)
	if _, err := newClient(dynamo, 4).ExecuteTransaction(background, input); err != nil {
		t.Fatal(err)
	}
	events := sidecar.WaitOf(t, "token", body.ClientRequestToken, 6)
	expectEqual(t, "origin of the second", events[3].Text("token_origin"), "caller")
	if events[3].Text("call") == start.Text("call") {
		t.Error("two calls with one id")
	}
}

func TestRetriesAreAttemptsOfOneCall(t *testing.T) {
	for _, mode := range []string{"standard", "adaptive"} {
		t.Run(mode, func(t *testing.T) {
			dynamo := startDynamo(t,
				peers.Fault(400, "TransactionInProgressException"), peers.Fault(500, "InternalServerError"), peers.OK("{}"))
			client := newClient(dynamo, 4, func(o *dynamodb.Options) {
				if mode == "adaptive" {
					o.Retryer = retry.NewAdaptiveMode(func(a *retry.AdaptiveModeOptions) {
						a.StandardOptions = append(a.StandardOptions, func(s *retry.StandardOptions) {
							s.MaxAttempts = 4
							s.MaxBackoff = time.Millisecond
						})
					})
				}
			})
			token := newToken()
			if _, err := client.TransactWriteItems(background, transaction(token)); err != nil {
				t.Fatal(err)
			}
			events := expectSummary(t, token,
				"attempt_start 1", "attempt_end 1 error TransactionInProgressException",
				"attempt_start 2", "attempt_end 2 error InternalServerError",
				"attempt_start 3", "attempt_end 3 ok", "call_end ok")
			for _, event := range events {
				expectEqual(t, "call", event.Text("call"), events[0].Text("call"))
				if event.Text("type") != "call_end" {
					expectEqual(t, "limit", event.Number("max_attempts"), 4)
				}
				if event.Text("type") == "attempt_start" {
					expectEqual(t, "fp", event.Text("fp")+event.Text("fp_raw"), events[0].Text("fp")+events[0].Text("fp_raw"))
				}
			}
			expectEqual(t, "attempts", events[6].Number("attempts"), 3)
		})
	}
}

func TestACallThatRunsOutOfAttempts(t *testing.T) {
	fault := peers.Fault(400, "TransactionInProgressException")
	dynamo := startDynamo(t, fault, fault)
	token := newToken()
	_, err := newClient(dynamo, 2).TransactWriteItems(background, transaction(token))
	var inProgress *types.TransactionInProgressException
	if !errors.As(err, &inProgress) {
		t.Fatalf("the application got %v", err)
	}
	events := expectSummary(t, token,
		"attempt_start 1", "attempt_end 1 error TransactionInProgressException",
		"attempt_start 2", "attempt_end 2 error TransactionInProgressException",
		"call_end error TransactionInProgressException")
	expectEqual(t, "number and limit", events[3].Number("attempt"), events[3].Number("max_attempts"))
}

func TestACancelledContext(t *testing.T) {
	dynamo := startDynamo(t, peers.Answer{Failure: "timeout"})
	token := newToken()
	ctx, cancel := context.WithTimeout(background, 200*time.Millisecond)
	defer cancel()
	if _, err := newClient(dynamo, 4).TransactWriteItems(ctx, transaction(token)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the application got %v", err)
	}
	events := expectSummary(t, token, "attempt_start 1", "attempt_end 1 no_response", "call_end no_response")
	if duration := events[1].Number("duration_ms"); duration < 150 || duration > 3000 {
		t.Errorf("duration %v", duration)
	}
}

func TestCancelledBetweenAttempts(t *testing.T) {
	dynamo := startDynamo(t, peers.Fault(400, "TransactionInProgressException"))
	token := newToken()
	ctx, cancel := context.WithCancel(background)
	client := newClient(dynamo, 4, func(o *dynamodb.Options) {
		o.Retryer = retry.NewStandard(func(s *retry.StandardOptions) {
			s.MaxAttempts = 4
			s.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) {
				cancel()
				return time.Hour, nil
			})
		})
	})
	if _, err := client.TransactWriteItems(ctx, transaction(token)); !errors.Is(err, context.Canceled) {
		t.Fatalf("the application got %v", err)
	}
	expectSummary(t, token, "attempt_start 1", "attempt_end 1 error TransactionInProgressException",
		"call_end error TransactionInProgressException")
}

func TestALostAnswerThenSuccess(t *testing.T) {
	dynamo := startDynamo(t, peers.Answer{Failure: "reset"}, peers.Answer{Failure: "timeout"})
	client := newClient(dynamo, 4, func(o *dynamodb.Options) {
		o.HTTPClient = newConfig(4, 300*time.Millisecond).HTTPClient
	})
	token := newToken()
	if _, err := client.TransactWriteItems(background, transaction(token)); err != nil {
		t.Fatal(err)
	}
	expectSummary(t, token, "attempt_start 1", "attempt_end 1 no_response", "attempt_start 2",
		"attempt_end 2 no_response", "attempt_start 3", "attempt_end 3 ok", "call_end ok")
}

// panics is a step of the application's own, between the hook and the network.
func panics(value any) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("panics", func(
			context.Context, middleware.DeserializeInput, middleware.DeserializeHandler,
		) (middleware.DeserializeOutput, middleware.Metadata, error) {
			if value == nil {
				runtime.Goexit()
			}
			panic(value)
		}), middleware.After)
	}
}

func TestAPanicOfTheApplicationPasses(t *testing.T) {
	dynamo := startDynamo(t)
	for _, value := range []any{"the application's", nil} {
		token := newToken()
		client := newClient(dynamo, 4, func(o *dynamodb.Options) { o.APIOptions = append(o.APIOptions, panics(value)) })
		recovered := make(chan any)
		go func() {
			defer func() { recovered <- recover() }()
			_, _ = client.TransactWriteItems(background, transaction(token))
		}()
		expectEqual(t, "panic", <-recovered, value)
		expectSummary(t, token, "attempt_start 1", "attempt_end 1 no_response", "call_end no_response")
	}
	expectNoFailures(t)
}

func TestACallThatNeverReachedTheWireIsSilent(t *testing.T) {
	dynamo := startDynamo(t)
	token := newToken()
	noCredentials := func(o *dynamodb.Options) {
		o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{}, errors.New("none here")
		})
	}
	if _, err := newClient(dynamo, 4, noCredentials).TransactWriteItems(background, transaction(token)); err == nil {
		t.Fatal("signed with nothing")
	}
	if _, err := newClient(dynamo, 4).TransactWriteItems(background, &dynamodb.TransactWriteItemsInput{
		ClientRequestToken: aws.String(token),
	}); err == nil {
		t.Fatal("valid without items")
	}
	expectSummary(t, token)
	expectEqual(t, "requests", len(dynamo.Received()), 0)
}

func TestOtherOperationsAreSilent(t *testing.T) {
	dynamo := startDynamo(t)
	before := len(sidecar.Events())
	client := newClient(dynamo, 4)
	if _, err := client.ListTables(background, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := client.GetItem(background, &dynamodb.GetItemInput{
		TableName: aws.String("t"), Key: map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: "x"}},
	}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(30 * time.Millisecond)
	expectEqual(t, "requests", len(dynamo.Received()), 2)
	expectEqual(t, "events", len(sidecar.Events()), before)
}

func TestTwiceIsOnce(t *testing.T) {
	dynamo := startDynamo(t)
	config := newConfig(4, 5*time.Second)
	config.APIOptions = append(config.APIOptions, oncewatchaws.APIOptions()...)
	config.APIOptions = append(config.APIOptions, oncewatchaws.APIOptions()...)
	client := dynamodb.NewFromConfig(config, oncewatchaws.DynamoDB(), func(o *dynamodb.Options) {
		o.BaseEndpoint = aws.String(dynamo.URL)
	})
	token := newToken()
	if _, err := client.TransactWriteItems(background, transaction(token), oncewatchaws.DynamoDB()); err != nil {
		t.Fatal(err)
	}
	expectSummary(t, token, "attempt_start 1", "attempt_end 1 ok", "call_end ok")
	expectNoFailures(t)
}

func TestScopeAndTraceparent(t *testing.T) {
	dynamo := startDynamo(t)
	type key struct{}
	traceparent := "00-000000000000000000000000000000a1-00000000000000b2-01"
	options := oncewatchaws.DynamoDB(oncewatchaws.WithScope("123456789012/eu-west-1"),
		oncewatchaws.WithTraceparent(func(ctx context.Context) string { return ctx.Value(key{}).(string) }))
	client := dynamodb.NewFromConfig(newConfig(1, 5*time.Second), options, func(o *dynamodb.Options) {
		o.BaseEndpoint = aws.String(dynamo.URL)
	})
	token := newToken()
	ctx := context.WithValue(background, key{}, traceparent)
	if _, err := client.TransactWriteItems(ctx, transaction(token)); err != nil {
		t.Fatal(err)
	}
	start := sidecar.WaitOf(t, "token", token, 3)[0]
	expectEqual(t, "scope", start.Text("scope"), "123456789012/eu-west-1")
	expectEqual(t, "traceparent", start.Text("traceparent"), traceparent)
	// The application's function panics: counted, and the attempt is reported all the same.
	failures := oncewatch.Stats().Failures
	token = newToken()
	if _, err := client.TransactWriteItems(background, transaction(token)); err != nil {
		t.Fatal(err)
	}
	expectSummary(t, token, "attempt_start 1", "attempt_end 1 ok", "call_end ok")
	expectEqual(t, "failures", oncewatch.Stats().Failures, failures+1)
}

func TestCallsFromManyGoroutinesStayApart(t *testing.T) {
	dynamo := startDynamo(t)
	client := newClient(dynamo, 4)
	names := make([]string, 40)
	for index := range names {
		names[index] = newToken()
	}
	var group sync.WaitGroup
	for worker := range 8 {
		group.Add(1)
		go func() {
			defer group.Done()
			for index := range 5 {
				if _, err := client.TransactWriteItems(background, transaction(names[worker*5+index])); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	group.Wait()
	calls := map[string]bool{}
	for _, token := range names {
		events := expectSummary(t, token, "attempt_start 1", "attempt_end 1 ok", "call_end ok")
		calls[events[0].Text("call")] = true
	}
	expectEqual(t, "calls", len(calls), 40)
}

// recorder is an HTTP client that keeps what it was asked to send.
type recorder struct {
	requests []string
}

func (r *recorder) Do(request *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	header := request.Header.Clone()
	for _, name := range []string{"Amz-Sdk-Invocation-Id", "X-Amz-Date", "Authorization"} {
		if len(header[name]) != 1 {
			return nil, errors.New("no " + name)
		}
		header.Del(name)
	}
	keys := map[string]any{}
	if err := json.Unmarshal(body, &keys); err != nil {
		return nil, err
	}
	r.requests = append(r.requests, fmt.Sprint(request.Method, request.URL, header, request.ContentLength, keys))
	status, answer := 200, `{"ConsumedCapacity":[{"WriteCapacityUnits":2}]}`
	if len(r.requests)%3 != 0 {
		status, answer = 500, `{"__type":"InternalServerError","message":"m"}`
	}
	if len(r.requests) > 3 {
		status, answer = 400, `{"__type":"TransactionCanceledException","message":"m"}`
	}
	return &http.Response{
		StatusCode: status, Header: http.Header{"X-Amzn-Requestid": {"R"}}, Body: io.NopCloser(strings.NewReader(answer)),
	}, nil
}

// The application sees the same with the hook and without.
func TestNothingIsChanged(t *testing.T) {
	outcomes := map[bool]string{}
	for _, hooked := range []bool{false, true} {
		recorder := &recorder{}
		config := newConfig(4, time.Second)
		config.HTTPClient = recorder
		if hooked {
			config.APIOptions = oncewatchaws.APIOptions()
		}
		client := dynamodb.NewFromConfig(config)
		output, err := client.TransactWriteItems(background, transaction("fixed-token"))
		if err != nil {
			t.Fatal(err)
		}
		results, _ := retry.GetAttemptResults(output.ResultMetadata)
		_, failure := client.TransactWriteItems(background, transaction("fixed-token"))
		var cancelled *types.TransactionCanceledException
		var answer smithy.APIError
		if !errors.As(failure, &cancelled) || !errors.As(failure, &answer) {
			t.Fatalf("the application got %v", failure)
		}
		if len(recorder.requests) != 4 {
			t.Fatalf("%d requests", len(recorder.requests))
		}
		outcomes[hooked] = fmt.Sprint(recorder.requests, *output.ConsumedCapacity[0].WriteCapacityUnits,
			len(results.Results), failure, reflect.TypeOf(failure), answer.ErrorCode())
	}
	if outcomes[true] != outcomes[false] {
		t.Errorf("with: %s\nwithout: %s", outcomes[true], outcomes[false])
	}
	sidecar.WaitOf(t, "token", "fixed-token", 7+3)
}

// A step of the application replaces the body by a stream that only reading would tell.
func TestABodyThatCannotBeLookedAtHasNoFingerprint(t *testing.T) {
	dynamo := startDynamo(t, peers.Fault(500, "InternalServerError"))
	replace := func(stack *middleware.Stack) error {
		return stack.Serialize.Add(middleware.SerializeMiddlewareFunc("replace", func(
			ctx context.Context, in middleware.SerializeInput, next middleware.SerializeHandler,
		) (middleware.SerializeOutput, middleware.Metadata, error) {
			request, err := in.Request.(*smithyhttp.Request).SetStream(struct{ io.ReadSeeker }{strings.NewReader(`{"A":1}`)})
			in.Request = request
			if err != nil {
				return middleware.SerializeOutput{}, middleware.Metadata{}, err
			}
			return next.HandleSerialize(ctx, in)
		}), middleware.After)
	}
	client := newClient(dynamo, 4, func(o *dynamodb.Options) { o.APIOptions = append(o.APIOptions, replace) })
	token := newToken()
	if _, err := client.TransactWriteItems(background, transaction(token)); err != nil {
		t.Fatal(err)
	}
	events := expectSummary(t, token, "attempt_start 1", "attempt_end 1 error InternalServerError", "attempt_start 2",
		"attempt_end 2 ok", "call_end ok")
	expectEqual(t, "fp", events[0].Text("fp"), "")
	expectEqual(t, "second body", dynamo.Received()[1].Body, `{"A":1}`)
}

func TestALargeBody(t *testing.T) {
	dynamo := startDynamo(t, peers.Fault(500, "InternalServerError"))
	token := newToken()
	input := transaction(token)
	input.TransactItems[0].Put.Item["large"] = &types.AttributeValueMemberS{Value: strings.Repeat("x", 300_000)}
	if _, err := newClient(dynamo, 4).TransactWriteItems(background, input); err != nil {
		t.Fatal(err)
	}
	start := sidecar.WaitOf(t, "token", token, 5)[2]
	prints := oncewatch.Fingerprint("dynamodb.TransactWriteItems", []byte(dynamo.Received()[1].Body), "ClientRequestToken")
	expectEqual(t, "fp", start.Text("fp")+start.Text("fp_raw"), prints.FPRaw)
}
