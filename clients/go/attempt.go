package oncewatch

import (
	"encoding/hex"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/oncewatch/oncewatch/clients/go/internal/failure"
)

// Larger bodies are hashed by the caller: a few of them would fill the buffer.
const queuedBodyBytesMax = 64 * 1024

// Attempt is one request on the wire, begun; End it once. Its methods may be
// called from any goroutine, and on nil.
type Attempt struct {
	sender *sender
	number int
	began  time.Time

	// What every event of the attempt tells. Written before the first event is
	// queued; after that only the sender's goroutine touches them.
	api, token, call, scope string
	traceparent             string
	origin                  TokenOrigin
	maxAttempts             int
	prints                  prints

	mu        sync.Mutex
	open      bool
	ownCall   bool
	observed  bool
	started   bool
	ended     bool
	outcome   Outcome
	result    Result
	callBegan time.Time
}

// prints are the fingerprints of an attempt, or what they will be made from:
// hashing is left to the sender's goroutine.
type prints struct {
	fp, fpRaw     string
	body          []byte
	tokenField    string
	ignoredFields []string
}

func begin(sender *sender, api, token string, request *Request) *Attempt {
	if !sender.accepting(queuedBody(len(request.Body))) {
		return dropped(sender, request.Call == "")
	}
	return start(sender, api, token, request)
}

func beginFunc(sender *sender, api, token string, bodyBytes int, describe func() Request) *Attempt {
	if !sender.accepting(queuedBody(bodyBytes)) {
		return dropped(sender, false)
	}
	request := describe()
	return start(sender, api, token, &request)
}

// queuedBody is how much of a body waits in the queue.
func queuedBody(bodyBytes int) int {
	if bodyBytes > queuedBodyBytesMax {
		return 0
	}
	return bodyBytes
}

// dropped is an attempt that is only counted.
func dropped(sender *sender, ownCall bool) *Attempt {
	sender.queue.countDropped(1)
	return &Attempt{sender: sender, open: true, ownCall: ownCall}
}

func start(sender *sender, api, token string, request *Request) *Attempt {
	attempt := &Attempt{
		sender: sender, number: max(request.Attempt, 1), open: true, ownCall: request.Call == "", observed: true,
	}
	attempt.describe(api, token, request)
	attempt.began = time.Now()
	attempt.callBegan = request.CallBegan
	if attempt.callBegan.IsZero() {
		attempt.callBegan = attempt.began
	}
	attempt.started = sender.send(record{kind: attemptStart, attempt: attempt, at: attempt.began, hasPrints: true})
	return attempt
}

func (a *Attempt) describe(api, token string, request *Request) {
	a.api = clipped(api, apiBytesMax)
	a.token = clippedUnique(token, tokenBytesMax)
	a.call = clippedUnique(request.Call, callBytesMax)
	if a.ownCall {
		a.call = newCallID()
	}
	a.scope = clippedUnique(request.Scope, scopeBytesMax)
	a.traceparent = clipped(request.Traceparent, traceparentBytesMax)
	a.origin = OriginCaller
	if request.TokenOrigin == OriginSDK {
		a.origin = OriginSDK
	}
	a.maxAttempts = request.MaxAttempts
	a.prints = prints{
		fp:            clippedUnique(request.FP, fingerprintBytesMax),
		fpRaw:         clippedUnique(request.FPRaw, fingerprintBytesMax),
		tokenField:    request.TokenField,
		ignoredFields: request.IgnoredFields,
	}
	if request.Body == nil || a.prints.fp != "" && a.prints.fpRaw != "" {
		return
	}
	if len(request.Body) > queuedBodyBytesMax {
		a.prints.body = request.Body
		a.prints.resolve(a.api)
		return
	}
	a.prints.body = append(make([]byte, 0, len(request.Body)), request.Body...)
}

// resolve replaces the body by its fingerprints.
func (p *prints) resolve(api string) {
	if p.body == nil {
		return
	}
	computed := Fingerprint(api, p.body, p.tokenField, p.ignoredFields...)
	if p.fp == "" {
		p.fp = computed.FP
	}
	if p.fpRaw == "" {
		p.fpRaw = computed.FPRaw
	}
	p.body = nil
}

// End reports how the request ended; only the first End counts.
func (a *Attempt) End(outcome Outcome, result Result) {
	if a == nil {
		return
	}
	defer failure.Recover()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.end(outcome, result)
	if a.ownCall {
		a.endCall()
	}
}

// EndCall reports that the call is over, with the outcome of this, its last
// attempt. Not needed for an attempt begun without Request.Call.
func (a *Attempt) EndCall() {
	if a == nil {
		return
	}
	defer failure.Recover()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.end(NoResponse, Result{})
	a.endCall()
}

func (a *Attempt) end(outcome Outcome, result Result) {
	if !a.open {
		return
	}
	a.open = false
	a.outcome = outcome
	if outcome != OK && outcome != Error {
		a.outcome = NoResponse
	}
	result.Error = clipped(result.Error, errorBytesMax)
	result.RequestID = clipped(result.RequestID, requestIDBytesMax)
	a.result = result
	if !a.observed {
		a.sender.queue.countDropped(1)
		return
	}
	now := time.Now()
	a.sender.send(record{
		kind: attemptEnd, attempt: a, at: now, duration: now.Sub(a.began), outcome: a.outcome, result: result,
		// An end needs the fingerprints only if there is no start to look them up in.
		hasPrints: !a.started,
	})
}

func (a *Attempt) endCall() {
	if a.ended {
		return
	}
	a.ended = true
	if !a.observed {
		a.sender.queue.countDropped(1)
		return
	}
	now := time.Now()
	a.sender.send(record{
		kind: callEnd, attempt: a, at: now, duration: now.Sub(a.callBegan), outcome: a.outcome, result: a.result,
	})
}

// newCallID is unique among the calls of a process, which is all that a call needs.
func newCallID() string {
	var id [16]byte
	high, low := rand.Uint64(), rand.Uint64()
	for index := range 8 {
		id[index], id[8+index] = byte(high>>(8*index)), byte(low>>(8*index))
	}
	return hex.EncodeToString(id[:])
}
