package oncewatchaws

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	oncewatch "github.com/oncewatch/oncewatch/clients/go"
	"github.com/oncewatch/oncewatch/clients/go/internal/failure"
)

const (
	tokenField = "ClientRequestToken"

	// Headers in the form in which Go keeps them.
	invocationIDHeader = "Amz-Sdk-Invocation-Id"
	attemptHeader      = "Amz-Sdk-Request"
)

var ignoredFields = []string{"ReturnConsumedCapacity", "ReturnItemCollectionMetrics"}

// call is one logical SDK call. The SDK builds a stack of middleware for each,
// so that its steps can share this without a look-up in the context.
type call struct {
	settings *settings
	api      string
	token    string
	scope    string
	origin   oncewatch.TokenOrigin
	began    time.Time
	attempts int
	attempt  *oncewatch.Attempt
}

// The steps of the stack that see a call: as a whole, its final token, and each of its attempts.
type (
	wholeCall   call
	finalToken  call
	eachAttempt call
)

func (*wholeCall) ID() string   { return "OncewatchCall" }
func (*finalToken) ID() string  { return "OncewatchToken" }
func (*eachAttempt) ID() string { return "OncewatchAttempt" }

// addTo never returns an error: it would be the result of the application's call.
func (s *settings) addTo(stack *middleware.Stack) error {
	defer failure.Recover()
	if name := stack.ID(); name != "TransactWriteItems" && name != "ExecuteTransaction" {
		return nil
	}
	if _, present := stack.Deserialize.Get((*eachAttempt)(nil).ID()); present {
		return nil
	}
	call := &call{settings: s}
	for _, err := range []error{
		stack.Initialize.Add((*wholeCall)(call), middleware.Before),
		stack.Serialize.Add((*finalToken)(call), middleware.Before),
		stack.Deserialize.Add((*eachAttempt)(call), middleware.Before),
	} {
		if err != nil {
			failure.Count(err)
		}
	}
	return nil
}

// HandleInitialize is the outermost step: the token is still as the caller gave it, and the call ends here.
func (c *wholeCall) HandleInitialize(
	ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
) (out middleware.InitializeOutput, metadata middleware.Metadata, err error) {
	c.began = time.Now()
	c.origin = oncewatch.OriginSDK
	if api, token := tokenOf(in.Parameters); api != "" && token != nil {
		c.origin = oncewatch.OriginCaller
	}
	// Deferred: a panic of another step is an end of the call, too, and of its attempt.
	defer (*call)(c).end()
	return next.HandleInitialize(ctx, in)
}

func (c *call) end() {
	c.attempt.EndCall()
}

// HandleSerialize runs when every step that may set the token has run: the SDK's, and the application's own.
func (c *finalToken) HandleSerialize(
	ctx context.Context, in middleware.SerializeInput, next middleware.SerializeHandler,
) (middleware.SerializeOutput, middleware.Metadata, error) {
	if api, token := tokenOf(in.Parameters); token != nil {
		c.api, c.token = api, *token
		if c.scope = c.settings.scope; c.scope == "" {
			c.scope = awsmiddleware.GetRegion(ctx)
		}
	}
	return next.HandleSerialize(ctx, in)
}

// tokenOf names the API of a call's parameters, if it is one that takes a token here.
func tokenOf(parameters any) (api string, token *string) {
	switch input := parameters.(type) {
	case *dynamodb.TransactWriteItemsInput:
		if input != nil {
			return "dynamodb.TransactWriteItems", input.ClientRequestToken
		}
	case *dynamodb.ExecuteTransactionInput:
		if input != nil {
			return "dynamodb.ExecuteTransaction", input.ClientRequestToken
		}
	}
	return "", nil
}

// HandleDeserialize runs for each attempt, after the retry loop and the
// signature: around sending the request and reading the answer.
func (c *eachAttempt) HandleDeserialize(
	ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
) (out middleware.DeserializeOutput, metadata middleware.Metadata, err error) {
	if c.api == "" {
		return next.HandleDeserialize(ctx, in)
	}
	(*call)(c).beginAttempt(ctx, in.Request)
	out, metadata, err = next.HandleDeserialize(ctx, in)
	(*call)(c).endAttempt(out, metadata, err)
	return out, metadata, err
}

func (c *call) beginAttempt(ctx context.Context, transportRequest any) {
	defer failure.Recover()
	c.attempts++
	request, _ := transportRequest.(*smithyhttp.Request)
	var copied body
	defer func() { copied.free() }()
	c.attempt = oncewatch.BeginFunc(c.api, c.token, bodyBytes(request), func() oncewatch.Request {
		copied = readBody(request)
		return c.describe(ctx, request, copied.bytes)
	})
}

func (c *call) describe(ctx context.Context, request *smithyhttp.Request, body []byte) oncewatch.Request {
	details := oncewatch.Request{
		Body: body, TokenField: tokenField, IgnoredFields: ignoredFields, Attempt: c.attempts,
		Scope: c.scope, TokenOrigin: c.origin, CallBegan: c.began, Traceparent: c.settings.currentTraceparent(ctx),
	}
	if request != nil {
		details.Call = firstOf(request.Header[invocationIDHeader])
		if number, limit := attemptOf(firstOf(request.Header[attemptHeader])); number > 0 {
			details.Attempt, details.MaxAttempts = number, limit
		}
	}
	if details.Call == "" {
		// Without the SDK's id the attempts are still those of one call.
		details.Call = strconv.FormatInt(c.began.UnixNano(), 36) + "/" + c.token
	}
	return details
}

// currentTraceparent calls the application's function, which may panic.
func (s *settings) currentTraceparent(ctx context.Context) (traceparent string) {
	if s.traceparent == nil {
		return ""
	}
	defer failure.Recover()
	return s.traceparent(ctx)
}

func (c *call) endAttempt(out middleware.DeserializeOutput, metadata middleware.Metadata, err error) {
	defer failure.Recover()
	result := oncewatch.Result{}
	if response, ok := out.RawResponse.(*smithyhttp.Response); ok && response != nil && response.Response != nil {
		result.HTTPStatus = response.StatusCode
	}
	result.RequestID, _ = awsmiddleware.GetRequestIDMetadata(metadata)
	if err == nil {
		result.ReadUnits, result.WriteUnits = consumed(out.Result)
		c.attempt.End(oncewatch.OK, result)
		return
	}
	var answer smithy.APIError
	if errors.As(err, &answer) {
		result.Error = answer.ErrorCode()
	} else if result.HTTPStatus < 300 || brokeOff(err) {
		// Nothing arrived, or nothing whole that tells whether the transaction was applied.
		c.attempt.End(oncewatch.NoResponse, oncewatch.Result{})
		return
	}
	c.attempt.End(oncewatch.Error, result)
}

// brokeOff tells whether the answer stopped before its end: an error status
// alone, without the code that follows, leaves open what became of the transaction.
func brokeOff(err error) bool {
	var parsed *smithy.DeserializationError
	if errors.As(err, &parsed) && len(parsed.Snapshot) > 0 {
		// The answer was whole and is not JSON, which may look like an end of input, too.
		return false
	}
	var network net.Error
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// attemptOf reads "attempt=2; max=4"; 0 for what is not told.
func attemptOf(header string) (number, limit int) {
	for _, part := range strings.SplitN(header, "; ", 3) {
		if text, ok := strings.CutPrefix(part, "attempt="); ok {
			number, _ = strconv.Atoi(text)
		} else if text, ok := strings.CutPrefix(part, "max="); ok {
			limit, _ = strconv.Atoi(text)
		}
	}
	return number, limit
}

func firstOf(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// consumed sums capacity units over the tables of an answer; nil where no table tells.
func consumed(result any) (read, write *float64) {
	var tables []types.ConsumedCapacity
	switch output := result.(type) {
	case *dynamodb.TransactWriteItemsOutput:
		tables = output.ConsumedCapacity
	case *dynamodb.ExecuteTransactionOutput:
		tables = output.ConsumedCapacity
	}
	for _, table := range tables {
		read = added(read, table.ReadCapacityUnits)
		write = added(write, table.WriteCapacityUnits)
	}
	return read, write
}

func added(sum, units *float64) *float64 {
	if sum == nil || units == nil {
		if units == nil {
			return sum
		}
		return units
	}
	total := *sum + *units
	return &total
}
