package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// capture is an HTTP client that keeps the SDK's own request and sends nothing.
type capture struct {
	request *http.Request
	body    string
}

var errCaptured = errors.New("captured")

func (c *capture) Do(request *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(request.Body)
	c.request, c.body = request, string(body)
	if err != nil {
		return nil, err
	}
	return nil, errCaptured
}

// bareStack is the SDK's stack without what is the same with and without the
// hook: a serialised request in, an answer out.
type bareStack struct {
	request *smithyhttp.Request
	input   *dynamodb.TransactWriteItemsInput
	output  *dynamodb.TransactWriteItemsOutput
}

func newBareStack() (*bareStack, error) {
	captured := &capture{}
	config := newConfig("http://127.0.0.1:1", captured)
	config.RetryMaxAttempts = 1
	input := transaction(1)
	if _, err := dynamodb.NewFromConfig(config).TransactWriteItems(context.Background(), input); !errors.Is(err, errCaptured) {
		return nil, fmt.Errorf("no request of the SDK: %w", err)
	}
	request, err := smithyhttp.NewStackRequest().(*smithyhttp.Request).SetStream(strings.NewReader(captured.body))
	if err != nil {
		return nil, err
	}
	request.Header = captured.request.Header
	return &bareStack{request: request, input: input, output: &dynamodb.TransactWriteItemsOutput{
		ConsumedCapacity: []types.ConsumedCapacity{{WriteCapacityUnits: aws.Float64(4)}},
	}}, nil
}

// call is one call of one attempt through a new stack, as the SDK builds one for each.
func (b *bareStack) call(options []func(*middleware.Stack) error) error {
	stack := middleware.NewStack("TransactWriteItems", smithyhttp.NewStackRequest)
	if err := stack.Serialize.Add(middleware.SerializeMiddlewareFunc("request", func(
		ctx context.Context, in middleware.SerializeInput, next middleware.SerializeHandler,
	) (middleware.SerializeOutput, middleware.Metadata, error) {
		in.Request = b.request
		return next.HandleSerialize(ctx, in)
	}), middleware.After); err != nil {
		return err
	}
	if err := stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("result", func(
		ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
	) (middleware.DeserializeOutput, middleware.Metadata, error) {
		out, metadata, err := next.HandleDeserialize(ctx, in)
		out.Result = b.output
		return out, metadata, err
	}), middleware.After); err != nil {
		return err
	}
	for _, option := range options {
		if err := option(stack); err != nil {
			return err
		}
	}
	answer := middleware.HandlerFunc(func(context.Context, any) (any, middleware.Metadata, error) {
		return &smithyhttp.Response{Response: &http.Response{StatusCode: http.StatusOK}}, middleware.Metadata{}, nil
	})
	_, _, err := middleware.DecorateHandler(answer, stack).Handle(context.Background(), b.input)
	return err
}

func newConfig(endpoint string, client aws.HTTPClient) aws.Config {
	return aws.Config{
		Region:       "eu-west-1",
		BaseEndpoint: aws.String(endpoint),
		HTTPClient:   client,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		}),
	}
}

// transaction is serialised to about 500 bytes.
func transaction(number int) *dynamodb.TransactWriteItemsInput {
	token := fmt.Sprintf("6b8f7c1e-0d7e-4a53-9f8b-%012d", number)
	text := func(value string) types.AttributeValue { return &types.AttributeValueMemberS{Value: value} }
	return &dynamodb.TransactWriteItemsInput{
		ClientRequestToken: aws.String(token),
		TransactItems: []types.TransactWriteItem{
			{Update: &types.Update{
				TableName:                aws.String("orders"),
				Key:                      map[string]types.AttributeValue{"id": text("customer-000117")},
				UpdateExpression:         aws.String("ADD balance :a SET #s = :s"),
				ExpressionAttributeNames: map[string]string{"#s": "status"},
				ExpressionAttributeValues: map[string]types.AttributeValue{
					":a": &types.AttributeValueMemberN{Value: "25"}, ":s": text("paid"),
				},
			}},
			{Put: &types.Put{TableName: aws.String("payments"), Item: map[string]types.AttributeValue{
				"id": text(token), "at": &types.AttributeValueMemberN{Value: "1790000000"}, "by": text("checkout"),
			}}},
		},
	}
}
