package oncewatchaws_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	oncewatch "github.com/oncewatch/oncewatch/clients/go"
	"github.com/oncewatch/oncewatch/clients/go/internal/peers"
	"github.com/oncewatch/oncewatch/clients/go/oncewatchaws"
)

// sidecar serves all tests of this package: a process has one connection. Tests tell their events by the token.
var sidecar *peers.Collector

func TestMain(m *testing.M) {
	if os.Getenv(withoutSidecar) != "" {
		os.Exit(m.Run())
	}
	directory, err := os.MkdirTemp("", "oncewatchaws")
	if err == nil {
		path := filepath.Join(directory, "events.sock")
		_ = os.Setenv("ONCEWATCH_SOCKET", path)
		sidecar, err = peers.Collect(path)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	sidecar.Close()
	_ = os.RemoveAll(directory)
	os.Exit(code)
}

var tokens atomic.Int64

func newToken() string {
	return fmt.Sprintf("token-%d", tokens.Add(1))
}

func startDynamo(t testing.TB, script ...peers.Answer) *peers.Dynamo {
	dynamo := peers.StartDynamo(script...)
	t.Cleanup(dynamo.Close)
	return dynamo
}

// newConfig is a configuration as an application has it, without waits between attempts.
func newConfig(attempts int, timeout time.Duration) aws.Config {
	return aws.Config{
		Region: "eu-west-1",
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		}),
		HTTPClient: awshttp.NewBuildableClient().WithTimeout(timeout),
		Retryer: func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) {
				o.MaxAttempts = attempts
				o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
			})
		},
	}
}

func newClient(dynamo *peers.Dynamo, attempts int, options ...func(*dynamodb.Options)) *dynamodb.Client {
	options = append([]func(*dynamodb.Options){
		func(o *dynamodb.Options) { o.BaseEndpoint = aws.String(dynamo.URL) }, oncewatchaws.DynamoDB(),
	}, options...)
	return dynamodb.NewFromConfig(newConfig(attempts, 5*time.Second), options...)
}

func transaction(token string) *dynamodb.TransactWriteItemsInput {
	input := &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{{Put: &types.Put{
		TableName: aws.String("orders"),
		Item: map[string]types.AttributeValue{
			"id": &types.AttributeValueMemberS{Value: "é1"}, "n": &types.AttributeValueMemberN{Value: "1"},
			"a": &types.AttributeValueMemberBOOL{Value: true}, "z": &types.AttributeValueMemberNULL{Value: true},
		},
	}}}}
	if token != "" {
		input.ClientRequestToken = aws.String(token)
	}
	return input
}

// summary is what happened, without times and identities.
func summary(events []peers.Event) string {
	text := ""
	for _, event := range events {
		text += event.Text("type")
		if number := event.Number("attempt"); number > 0 {
			text += fmt.Sprint(" ", number)
		}
		for _, name := range []string{"outcome", "error"} {
			if value := event.Text(name); value != "" {
				text += " " + value
			}
		}
		text += "\n"
	}
	return text
}

func expectSummary(t *testing.T, token string, lines ...string) []peers.Event {
	t.Helper()
	events := sidecar.WaitOf(t, "token", token, len(lines))
	expected := ""
	for _, line := range lines {
		expected += line + "\n"
	}
	if found := summary(events); found != expected {
		t.Errorf("%s instead of %s", found, expected)
	}
	return events
}

func expectEqual(t *testing.T, what string, found, expected any) {
	t.Helper()
	if fmt.Sprintf("%v", found) != fmt.Sprintf("%v", expected) {
		t.Errorf("%s: %v instead of %v", what, found, expected)
	}
}

func expectNoFailures(t *testing.T) {
	t.Helper()
	if stats := oncewatch.Stats(); stats.Failures > 0 || stats.Dropped > 0 {
		t.Errorf("%+v", stats)
	}
}
