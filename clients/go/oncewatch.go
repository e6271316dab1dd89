// Package oncewatch tells the oncewatch sidecar how this process uses idempotency tokens.
//
// For DynamoDB through the AWS SDK for Go v2, package oncewatchaws does it all.
// For any other API that takes a token:
//
//	attempt := oncewatch.Begin("stripe", key, oncewatch.Request{Body: payload, Scope: account})
//	defer attempt.End(oncewatch.NoResponse, oncewatch.Result{}) // if nothing below was reached
//	response, err := client.Do(request)
//	if err == nil && response.StatusCode < 300 {
//		attempt.End(oncewatch.OK, oncewatch.Result{HTTPStatus: response.StatusCode})
//	}
//
// It only observes: nothing here waits for the sidecar, returns an error or
// panics. Go has no hook for the end of a process: put
//
//	defer oncewatch.Flush(200 * time.Millisecond)
//
// into main, or the events of the last few milliseconds may be lost.
package oncewatch

import (
	"time"

	"github.com/oncewatch/oncewatch/clients/go/internal/failure"
)

// TokenOrigin tells who made a token.
type TokenOrigin string

// Who made the token; anything but OriginSDK is taken as OriginCaller.
const (
	OriginCaller TokenOrigin = "caller"
	OriginSDK    TokenOrigin = "sdk"
)

// Outcome is how an attempt ended.
type Outcome string

// How an attempt ended. NoResponse (a timeout, a reset, a cancelled context)
// claims nothing about the server; anything unknown is taken as NoResponse.
const (
	OK         Outcome = "ok"
	Error      Outcome = "error"
	NoResponse Outcome = "no_response"
)

// Request describes one attempt; every field may be left zero.
type Request struct {
	// Body is the request's body as sent. It may be changed when Begin returns:
	// it is copied or, over 64 KiB, hashed by the calling goroutine, which takes
	// milliseconds for each attempt (the README has figures). FP and FPRaw
	// together avoid that.
	Body []byte
	// TokenField is the member of a JSON Body that holds the token, and
	// IgnoredFields are those that only shape the answer, as in the sidecar's
	// profile: neither is a parameter. The slice must not be changed later.
	TokenField    string
	IgnoredFields []string
	// FP and FPRaw replace the fingerprints of Body: hashes of the parameters
	// without the token, at most 64 bytes.
	FP, FPRaw string
	// Call is the id that all attempts of one call share, at most 64 bytes;
	// such a call is finished with EndCall. Without it this attempt is a call
	// of its own, over when it ends.
	Call string
	// Attempt is the number within the call, from 1 (the default).
	Attempt int
	// MaxAttempts is the client's limit including the first attempt; 0 if unknown.
	MaxAttempts int
	// Scope is the namespace in which the token is unique, at most 256 bytes.
	Scope string
	// TokenOrigin is OriginCaller unless set.
	TokenOrigin TokenOrigin
	// Traceparent is the W3C trace context of the caller.
	Traceparent string
	// CallBegan is when the call began, for the duration of the call.
	CallBegan time.Time
}

// Result is what an answer told; every field may be left zero.
type Result struct {
	// Error is the server's error code, at most 128 bytes.
	Error string
	// HTTPStatus is the answer's status; 0 if there was none.
	HTTPStatus int
	// RequestID is the server's, at most 128 bytes.
	RequestID string
	// ReadUnits and WriteUnits are consumed capacity units; nil if the answer does not tell.
	ReadUnits, WriteUnits *float64
}

// Begin reports that a request with token is about to be sent. The name api
// selects the sidecar's profile, e.g. "stripe". The attempt may be nil, which
// its methods allow.
func Begin(api, token string, request Request) (attempt *Attempt) {
	defer failure.Recover()
	return begin(process, api, token, &request)
}

// BeginFunc is Begin for a request that costs something to describe: describe,
// called before BeginFunc returns, is not called while no event can be taken,
// because there is no sidecar or too many events wait for it. bodyBytes is the
// length of the Body that it would give, and Call must be set.
func BeginFunc(api, token string, bodyBytes int, describe func() Request) (attempt *Attempt) {
	defer failure.Recover()
	return beginFunc(process, api, token, bodyBytes, describe)
}

// Flush waits until every event is written, at most for timeout, and tells
// whether all are. It is for the end of main; os.Exit and log.Fatal skip
// deferred calls, so call it before them.
func Flush(timeout time.Duration) bool {
	defer failure.Recover()
	return process.flush(timeout)
}

// Statistics counts the events of this process.
type Statistics struct {
	Connected bool
	// Sent counts events that the kernel took, Dropped those given up, Pending those in between.
	Sent, Pending, Dropped uint64
	// Failures counts errors inside this library; LastFailure is the last of them.
	Failures    uint64
	LastFailure string
}

// Stats returns the counts of this process so far.
func Stats() Statistics {
	defer failure.Recover()
	return process.stats()
}
