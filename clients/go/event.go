package oncewatch

import (
	"math"
	"strconv"
	"time"
)

// Limits of wire protocol version 1 (SPEC §2), bytes of UTF-8. The sidecar
// rejects an event for one value that is too long, so values are shortened here.
const (
	apiBytesMax         = 128
	tokenBytesMax       = 512
	callBytesMax        = 64
	fingerprintBytesMax = 64
	clientBytesMax      = 128
	scopeBytesMax       = 256
	errorBytesMax       = 128
	requestIDBytesMax   = 128
	traceparentBytesMax = 128
)

// Above this not every number in JSON is read back as it was written.
const integerMax = 1<<53 - 1

type kind uint8

const (
	attemptStart kind = iota
	attemptEnd
	callEnd
)

var kindNames = [...]string{"attempt_start", "attempt_end", "call_end"}

// record is an event that is not written yet: the sender makes its line.
type record struct {
	kind      kind
	hasPrints bool
	attempt   *Attempt
	at        time.Time
	duration  time.Duration
	outcome   Outcome
	result    Result
	size      int
}

// Names of fields, punctuation, numbers and the client's name of a usual event.
const recordBytes = 192

// estimate is about how many bytes the record keeps from the application, its line included.
func (r *record) estimate() int {
	attempt := r.attempt
	size := recordBytes + len(attempt.api) + len(attempt.token) + len(attempt.call) + len(attempt.scope) +
		len(r.result.Error) + len(r.result.RequestID)
	if r.hasPrints {
		size += len(attempt.traceparent) + len(attempt.prints.fp) + len(attempt.prints.fpRaw) + len(attempt.prints.body)
	}
	return size
}

// appendLine appends the event and its newline; client is already quoted.
func (r *record) appendLine(line []byte, client string) []byte {
	attempt := r.attempt
	line = append(line, `{"type":"`...)
	line = append(line, kindNames[r.kind]...)
	line = append(line, `","api":`...)
	line = appendQuoted(line, attempt.api)
	line = append(line, `,"token":`...)
	line = appendQuoted(line, attempt.token)
	line = appendString(line, "call", attempt.call)
	line = append(line, `,"client":`...)
	line = append(line, client...)
	line = appendString(line, "scope", attempt.scope)
	if r.kind == callEnd {
		line = appendInteger(line, "attempts", attempt.number, 1)
	} else {
		line = appendInteger(line, "attempt", attempt.number, 1)
		line = appendInteger(line, "max_attempts", attempt.maxAttempts, 1)
	}
	if r.hasPrints {
		attempt.prints.resolve(attempt.api)
		line = appendString(line, "fp", attempt.prints.fp)
		line = appendString(line, "fp_raw", attempt.prints.fpRaw)
	}
	if r.kind == attemptStart {
		line = appendString(line, "traceparent", attempt.traceparent)
		line = appendString(line, "token_origin", string(attempt.origin))
	} else {
		line = r.appendOutcome(line)
	}
	line = append(line, `,"at":`...)
	line = strconv.AppendFloat(line, float64(r.at.UnixMicro())/1e6, 'f', 6, 64)
	return append(line, "}\n"...)
}

func (r *record) appendOutcome(line []byte) []byte {
	line = appendString(line, "outcome", string(r.outcome))
	code := r.result.Error
	if r.outcome == Error && code == "" && r.result.HTTPStatus < 1 {
		// The protocol wants one of the two; a code that no profile lists leaves the outcome open.
		code = "UnknownError"
	}
	line = appendString(line, "error", code)
	line = appendInteger(line, "http_status", r.result.HTTPStatus, 1)
	line = appendString(line, "request_id", r.result.RequestID)
	milliseconds := float64(max(r.duration, 0).Microseconds()) / 1000
	line = appendNumber(line, "duration_ms", &milliseconds)
	if r.kind == attemptEnd {
		line = appendNumber(line, "read_units", r.result.ReadUnits)
		line = appendNumber(line, "write_units", r.result.WriteUnits)
	}
	return line
}

func appendName(line []byte, name string) []byte {
	line = append(line, `,"`...)
	line = append(line, name...)
	return append(line, `":`...)
}

func appendString(line []byte, name, value string) []byte {
	if value == "" {
		return line
	}
	return appendQuoted(appendName(line, name), value)
}

func appendInteger(line []byte, name string, value, minimum int) []byte {
	if value < minimum || value > integerMax {
		return line
	}
	return strconv.AppendInt(appendName(line, name), int64(value), 10)
}

func appendNumber(line []byte, name string, value *float64) []byte {
	if value == nil || math.IsNaN(*value) || *value < 0 || *value > integerMax {
		return line
	}
	return strconv.AppendFloat(appendName(line, name), *value, 'g', -1, 64)
}
