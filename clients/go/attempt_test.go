package oncewatch

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oncewatch/oncewatch/clients/go/internal/peers"
)

func TestOneAttemptIsACallOfItsOwn(t *testing.T) {
	sidecar := newSidecar(t)
	t.Setenv("HOSTNAME", "orders-1")
	before := time.Now()
	units := 4.0
	attempt := Begin("stripe", "key-1", Request{Body: []byte(`{"amount":1}`), Scope: "acct_1", MaxAttempts: 3})
	time.Sleep(3 * time.Millisecond)
	attempt.End(OK, Result{HTTPStatus: 200, RequestID: "req_1", WriteUnits: &units})
	events := sidecar.Wait(t, 3)
	start, end, over := events[0], events[1], events[2]
	prints := Fingerprint("stripe", []byte(`{"amount":1}`), "")
	delete(start, "call")
	at := start.Number("at")
	if now := float64(time.Now().UnixMicro()) / 1e6; at < float64(before.UnixMicro())/1e6 || at > now {
		t.Errorf("at %f is not now, %f", at, now)
	}
	delete(start, "at")
	expectEqual(t, "start", start, peers.Event{
		"type": "attempt_start", "api": "stripe", "token": "key-1", "client": fmt.Sprintf("orders-1/%d", os.Getpid()),
		"scope": "acct_1", "attempt": 1, "max_attempts": 3, "fp": prints.FP, "fp_raw": prints.FPRaw,
		"token_origin": "caller",
	})
	for _, event := range []peers.Event{end, over} {
		if duration := event.Number("duration_ms"); duration < 3 || duration > 5000 {
			t.Errorf("duration %f", duration)
		}
		delete(event, "duration_ms")
		delete(event, "at")
	}
	if end.Text("call") == "" || end.Text("call") != over.Text("call") {
		t.Error("the call's id")
	}
	call, client := end["call"], end["client"]
	expectEqual(t, "end", end, peers.Event{
		"type": "attempt_end", "api": "stripe", "token": "key-1", "client": client, "call": call, "scope": "acct_1",
		"attempt": 1, "max_attempts": 3, "outcome": "ok", "http_status": 200, "request_id": "req_1", "write_units": 4,
	})
	expectEqual(t, "call", over, peers.Event{
		"type": "call_end", "api": "stripe", "token": "key-1", "client": client, "call": call, "scope": "acct_1",
		"attempts": 1, "outcome": "ok", "http_status": 200, "request_id": "req_1",
	})
}

func TestSeveralAttemptsOfOneCall(t *testing.T) {
	sidecar := newSidecar(t)
	first := Begin("stripe", "key", Request{Call: "c1", FP: "f1", TokenOrigin: OriginSDK, Traceparent: "00-a-b-01"})
	first.End(NoResponse, Result{})
	second := Begin("stripe", "key", Request{Call: "c1", Attempt: 2, FP: "f1"})
	second.End(Error, Result{Error: "idempotency_error", HTTPStatus: 400})
	second.End(OK, Result{})
	second.EndCall()
	second.EndCall()
	var found []string
	for _, event := range sidecar.Wait(t, 5) {
		found = append(found, fmt.Sprintln(event.Text("type"), event.Number("attempt"), event.Text("outcome"), event["call"],
			event["fp"], event["error"], event.Number("attempts"), event["token_origin"], event["traceparent"]))
	}
	expectEqual(t, "events", strings.Join(found, ""), strings.Join([]string{
		"attempt_start 1  c1 f1 <nil> -1 sdk 00-a-b-01",
		"attempt_end 1 no_response c1 <nil> <nil> -1 <nil> <nil>",
		"attempt_start 2  c1 f1 <nil> -1 caller <nil>",
		"attempt_end 2 error c1 <nil> idempotency_error -1 <nil> <nil>",
		"call_end -1 error c1 <nil> idempotency_error 2 <nil> <nil>",
		"",
	}, "\n"))
}

func TestACallThatIsLeftEndsWithoutResponse(t *testing.T) {
	sidecar := newSidecar(t)
	func() {
		defer func() { _ = recover() }()
		attempt := Begin("http", "key", Request{})
		defer attempt.End(NoResponse, Result{})
		panic("the application's")
	}()
	for _, event := range sidecar.Wait(t, 3)[1:] {
		expectEqual(t, "outcome", event.Text("outcome"), "no_response")
	}
	Begin("http", "other", Request{Call: "c"}).EndCall()
	expectEqual(t, "outcome", sidecar.Wait(t, 6)[4].Text("outcome"), "no_response")
}

func TestNilAndZeroAttempts(t *testing.T) {
	newSidecar(t)
	var none *Attempt
	none.End(OK, Result{})
	none.EndCall()
}

func TestAnErrorWithoutCodeAndStatusStillMakesAValidEvent(t *testing.T) {
	sidecar := newSidecar(t)
	Begin("http", "a", Request{}).End(Error, Result{})
	Begin("http", "b", Request{}).End("nonsense", Result{})
	Begin("http", "c", Request{}).End(Error, Result{HTTPStatus: 409})
	var found []string
	sidecar.Wait(t, 9)
	for _, event := range sidecar.Of("type", "attempt_end") {
		found = append(found, fmt.Sprintf("%v %v %v", event["outcome"], event["error"], event["http_status"]))
	}
	expectEqual(t, "ends", found, "[error UnknownError <nil> no_response <nil> <nil> error <nil> 409]")
}

func TestTheBodyMayBeChangedAfterBegin(t *testing.T) {
	sidecar := newSidecar(t)
	for size, name := range map[int]string{100: "queued", 100_000: "hashed at once", 300_000: "without fp"} {
		body := []byte(`{"t":"` + name + `","a":"` + strings.Repeat("x", size) + `"}`)
		expected := Fingerprint("default", body, "t")
		attempt := Begin("default", name, Request{Body: body, TokenField: "t"})
		for index := range body {
			body[index] = 'y'
		}
		attempt.End(OK, Result{})
		start := sidecar.WaitOf(t, "token", name, 3)[0]
		if start.Text("fp") != expected.FP || start.Text("fp_raw") != expected.FPRaw || expected.FPRaw == "" {
			t.Errorf("%s: %v instead of %v", name, start, expected)
		}
	}
}

func TestYourOwnFingerprintsComeFirst(t *testing.T) {
	sidecar := newSidecar(t)
	body := []byte(`{"a":1}`)
	Begin("x", "one", Request{FP: "mine", Body: body}).End(OK, Result{})
	Begin("x", "both", Request{FP: "mine", FPRaw: "raw", Body: body}).End(OK, Result{})
	expectEqual(t, "fp_raw", sidecar.WaitOf(t, "token", "one", 3)[0].Text("fp_raw"), Fingerprint("x", body, "").FPRaw)
	start := sidecar.WaitOf(t, "token", "both", 3)[0]
	expectEqual(t, "both", start.Text("fp")+start.Text("fp_raw"), "mineraw")
}

func TestEveryLimitHoldsForEveryScript(t *testing.T) {
	limits := map[string]int{
		"api": 128, "token": 512, "call": 64, "fp": 64, "fp_raw": 64, "client": 128, "scope": 256, "error": 128,
		"request_id": 128, "traceparent": 128,
	}
	for _, unit := range []string{"x", "é", "\U0001f600", "\x01", "\xff", "\ufffd", "aé"} {
		t.Run(fmt.Sprintf("%q", unit), func(t *testing.T) {
			sidecar := newSidecar(t)
			long := strings.Repeat(unit, 5000)
			t.Setenv("HOSTNAME", strings.Trim(long, "\x00"))
			attempt := Begin(long, long, Request{
				FP: long, FPRaw: long, Call: long, Scope: long, Traceparent: long, MaxAttempts: math.MaxInt, Attempt: -1,
			})
			nan, inf := math.NaN(), math.Inf(1)
			attempt.End(Error, Result{Error: long, RequestID: long, HTTPStatus: math.MaxInt, ReadUnits: &nan, WriteUnits: &inf})
			events := sidecar.Wait(t, 2)
			for _, event := range events {
				seen := 0
				for name, limit := range limits {
					value, present := event[name].(string)
					if present {
						seen++
						// What is not UTF-8 is replaced at once, in one character.
						if len(value) == 0 || len(value) > limit || unit != "\xff" && len(value) < limit-3 {
							t.Errorf("%s has %d bytes", name, len(value))
						}
					}
				}
				if seen < 6 {
					t.Errorf("only %d texts in %v", seen, event)
				}
				for _, name := range []string{"max_attempts", "read_units", "write_units", "http_status"} {
					if _, present := event[name]; present {
						t.Errorf("%s in %v", name, event)
					}
				}
			}
		})
	}
}

func TestTokensThatLookAlikeStayApart(t *testing.T) {
	sidecar := newSidecar(t)
	tokens := []string{
		strings.Repeat("x", 600) + "a", strings.Repeat("x", 600) + "b", "\xff", "\xfe", "\ufffd", strings.Repeat("y", 512), "",
	}
	for _, token := range tokens {
		report(token)
	}
	found := tokensOf(sidecar.Wait(t, 3*len(tokens)))
	if len(found) != len(tokens) || found[strings.Repeat("y", 512)] != 3 || found[""] != 3 {
		t.Errorf("%d tokens: %v", len(found), found)
	}
	// The form that the other clients give the same token.
	digest := sha256.Sum256([]byte(tokens[0]))
	if found[tokens[0][:512-33]+"~"+hex.EncodeToString(digest[:])[:32]] != 3 {
		t.Errorf("the form of a long token: %v", found)
	}
}

func TestNumbers(t *testing.T) {
	for value, expected := range map[float64]string{
		0: `,"n":0`, 2.5: `,"n":2.5`, 1e-7: `,"n":1e-07`, -1: "", math.Inf(1): "", 1 << 60: "",
	} {
		expectEqual(t, "number", string(appendNumber(nil, "n", &value)), expected)
	}
}

func TestEndsFromManyGoroutinesCountOnce(t *testing.T) {
	sidecar := newSidecar(t)
	for index := range 20 {
		attempt := Begin("default", fmt.Sprint(index), Request{Body: []byte("{}")})
		var group sync.WaitGroup
		for range 4 {
			group.Add(1)
			go func() {
				defer group.Done()
				attempt.End(OK, Result{})
				attempt.EndCall()
			}()
		}
		group.Wait()
	}
	sidecar.Wait(t, 60)
}

func TestTheClientIsHostAndProcess(t *testing.T) {
	t.Setenv("HOSTNAME", "orders-"+strings.Repeat("x", 300))
	name := clientName()
	if len(name) != 128 || !strings.HasSuffix(name, fmt.Sprintf("/%d", os.Getpid())) {
		t.Error(name)
	}
	t.Setenv("HOSTNAME", "")
	host, _ := os.Hostname()
	expectEqual(t, "client", clientName(), fmt.Sprintf("%s/%d", host, os.Getpid()))
}
