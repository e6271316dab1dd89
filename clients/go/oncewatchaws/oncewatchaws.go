// Package oncewatchaws reports what DynamoDB clients of the AWS SDK for Go v2
// do with idempotency tokens: each attempt of TransactWriteItems and
// ExecuteTransaction when it starts and when it ends, and each call when it
// ends, with tokens that the SDK made itself.
//
//	cfg.APIOptions = append(cfg.APIOptions, oncewatchaws.APIOptions()...)
//
// or, for one client:
//
//	client := dynamodb.NewFromConfig(cfg, oncewatchaws.DynamoDB())
//
// It only observes: it changes no request, result, error, retry or timing.
package oncewatchaws

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go/middleware"
)

// Option changes what is reported.
type Option func(*settings)

type settings struct {
	scope       string
	traceparent func(context.Context) string
}

// WithScope sets the namespace of the tokens, at most 256 bytes, e.g.
// "123456789012/eu-west-1". The default is the client's Region, as the SDK does
// not know the account.
func WithScope(scope string) Option {
	return func(s *settings) { s.scope = scope }
}

// WithTraceparent sets how the W3C trace context of a call's context is found;
// empty for none. It is called once for each attempt, by the calling goroutine.
func WithTraceparent(traceparent func(context.Context) string) Option {
	return func(s *settings) { s.traceparent = traceparent }
}

// APIOptions is for aws.Config or the Options of a client. It concerns only
// DynamoDB's calls that take a token; a second time for the same client changes
// nothing.
func APIOptions(options ...Option) []func(*middleware.Stack) error {
	settings := &settings{}
	for _, option := range options {
		option(settings)
	}
	return []func(*middleware.Stack) error{settings.addTo}
}

// DynamoDB adds APIOptions to one client: dynamodb.NewFromConfig(cfg, oncewatchaws.DynamoDB()).
func DynamoDB(options ...Option) func(*dynamodb.Options) {
	added := APIOptions(options...)
	return func(client *dynamodb.Options) {
		// Clients that were copied from one another share the slice.
		client.APIOptions = append(client.APIOptions[:len(client.APIOptions):len(client.APIOptions)], added...)
	}
}
