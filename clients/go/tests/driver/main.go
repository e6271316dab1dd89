// The driver does what one application would, job after job, for tests that
// look at the sidecar's verdicts from every language.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	oncewatch "github.com/oncewatch/oncewatch/clients/go"
	"github.com/oncewatch/oncewatch/clients/go/oncewatchaws"
)

const (
	sdkModule   = "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	jobBytesMax = 16 * 1024 * 1024
)

type job struct {
	ID             string  `json:"id"`
	Op             string  `json:"op"`
	Endpoint       string  `json:"endpoint"`
	Table          string  `json:"table"`
	Amount         *int    `json:"amount"`
	Needs          *string `json:"needs"`
	Identity       string  `json:"identity"`
	Token          *string `json:"token"`
	MaxAttempts    int     `json:"max_attempts"`
	ReadTimeoutMS  int     `json:"read_timeout_ms"`
	Background     bool    `json:"background"`
	ReturnConsumed bool    `json:"return_consumed"`

	API        string  `json:"api"`
	Body       *string `json:"body"`
	Attempt    int     `json:"attempt"`
	Call       string  `json:"call"`
	Outcome    string  `json:"outcome"`
	HTTPStatus int     `json:"http_status"`
	Error      string  `json:"error"`
	TokenField string  `json:"token_field"`
	EndCall    bool    `json:"end_call"`
}

func main() {
	defer oncewatch.Flush(200 * time.Millisecond)
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "driver:", err)
		oncewatch.Flush(200 * time.Millisecond)
		os.Exit(1)
	}
}

func serve() error {
	var running sync.WaitGroup
	defer running.Wait()
	var output sync.Mutex
	say := func(line any) {
		output.Lock()
		defer output.Unlock()
		_ = json.NewEncoder(os.Stdout).Encode(line)
	}
	say(map[string]any{"ready": true, "language": "go", "sdk": "aws-sdk-go-v2/service/dynamodb " + sdkVersion()})
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, jobBytesMax)
	for lines.Scan() {
		next := job{ReadTimeoutMS: 10_000, Outcome: string(oncewatch.OK)}
		if err := json.Unmarshal(lines.Bytes(), &next); err != nil {
			return fmt.Errorf("not a job: %w", err)
		}
		do := func() { say(map[string]string{"id": next.ID, "outcome": next.run()}) }
		if !next.Background {
			do()
			continue
		}
		running.Add(1)
		go func() {
			defer running.Done()
			do()
		}()
	}
	return lines.Err()
}

func sdkVersion() string {
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, module := range build.Deps {
			if module.Path == sdkModule {
				return module.Version
			}
		}
	}
	return "of unknown version"
}

func (j *job) run() string {
	var err error
	switch j.Op {
	case "transact":
		_, err = j.client().TransactWriteItems(context.Background(), j.transaction())
	case "execute":
		_, err = j.client().ExecuteTransaction(context.Background(), &dynamodb.ExecuteTransactionInput{
			ClientRequestToken: j.Token,
			TransactStatements: []types.ParameterizedStatement{{
				Statement: aws.String(fmt.Sprintf(`INSERT INTO "%s" VALUE {'id': '%s'}`, j.Table, j.Identity)),
			}},
			ReturnConsumedCapacity: j.returnConsumed(),
		})
	case "generic":
		return j.generic()
	default:
		return "driver: unknown op " + j.Op
	}
	var answer smithy.APIError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &answer):
		return answer.ErrorCode()
	}
	fmt.Fprintf(os.Stderr, "driver: job %s: %v\n", j.ID, err)
	return string(oncewatch.NoResponse)
}

func (j *job) client() *dynamodb.Client {
	attempts := j.MaxAttempts
	if attempts == 0 {
		attempts = 4
	}
	return dynamodb.NewFromConfig(aws.Config{
		Region: "eu-west-1",
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		}),
		BaseEndpoint:     aws.String(j.Endpoint),
		RetryMode:        aws.RetryModeStandard,
		RetryMaxAttempts: attempts,
		HTTPClient:       awshttp.NewBuildableClient().WithTimeout(time.Duration(j.ReadTimeoutMS) * time.Millisecond),
	}, oncewatchaws.DynamoDB())
}

func (j *job) transaction() *dynamodb.TransactWriteItemsInput {
	amount := 1
	if j.Amount != nil {
		amount = *j.Amount
	}
	input := &dynamodb.TransactWriteItemsInput{
		ClientRequestToken:     j.Token,
		ReturnConsumedCapacity: j.returnConsumed(),
		TransactItems: []types.TransactWriteItem{{Update: &types.Update{
			TableName:        aws.String(j.Table),
			Key:              key("counter"),
			UpdateExpression: aws.String("ADD n :amount"),
			ExpressionAttributeValues: map[string]types.AttributeValue{
				":amount": &types.AttributeValueMemberN{Value: fmt.Sprint(amount)},
			},
		}}},
	}
	if j.Needs != nil {
		input.TransactItems = append(input.TransactItems, types.TransactWriteItem{ConditionCheck: &types.ConditionCheck{
			TableName:           aws.String(j.Table),
			Key:                 key(*j.Needs),
			ConditionExpression: aws.String("attribute_exists(id)"),
		}})
	}
	return input
}

func (j *job) returnConsumed() types.ReturnConsumedCapacity {
	if j.ReturnConsumed {
		return types.ReturnConsumedCapacityTotal
	}
	return ""
}

func key(id string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: id}}
}

func (j *job) generic() string {
	details := oncewatch.Request{TokenField: j.TokenField, Call: j.Call, Attempt: j.Attempt, MaxAttempts: j.MaxAttempts}
	if j.Body != nil {
		details.Body = []byte(*j.Body)
	}
	attempt := oncewatch.Begin(j.API, aws.ToString(j.Token), details)
	attempt.End(oncewatch.Outcome(j.Outcome), oncewatch.Result{HTTPStatus: j.HTTPStatus, Error: j.Error})
	if j.EndCall {
		attempt.EndCall()
	}
	if j.Error != "" {
		return j.Error
	}
	return j.Outcome
}
