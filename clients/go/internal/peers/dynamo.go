package peers

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"time"
)

// Answer is what the stub does with one request.
type Answer struct {
	Status  int
	Headers map[string]string
	Body    string
	// Failure is "" or one of reset, close, timeout and truncated, as in
	// clients/conformance/events.json, or stalled: the rest of the body never comes.
	Failure string
}

// OK is a plain success.
func OK(body string) Answer {
	return Answer{Status: http.StatusOK, Body: body}
}

// Fault is an error answer of DynamoDB.
func Fault(status int, code string) Answer {
	return Answer{Status: status, Body: `{"__type":"com.amazonaws.dynamodb.v20120810#` + code + `","message":"scripted"}`}
}

// Received is one request as the stub saw it.
type Received struct {
	Header http.Header
	Body   string
}

// Dynamo speaks enough of DynamoDB's protocol for an SDK; it answers by the script, then with plain success.
type Dynamo struct {
	URL    string
	server *httptest.Server
	done   chan struct{}

	mu       sync.Mutex
	script   []Answer
	received []Received
}

// StartDynamo serves on a free loopback port; Close ends it.
func StartDynamo(script ...Answer) *Dynamo {
	d := &Dynamo{script: script, done: make(chan struct{})}
	d.server = httptest.NewServer(http.HandlerFunc(d.serve))
	d.URL = d.server.URL
	return d
}

// Close ends the server; requests that it still holds get no answer.
func (d *Dynamo) Close() {
	close(d.done)
	d.server.CloseClientConnections()
	d.server.Close()
}

// Received are the requests so far.
func (d *Dynamo) Received() []Received {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Received(nil), d.received...)
}

func (d *Dynamo) serve(writer http.ResponseWriter, request *http.Request) {
	body, _ := io.ReadAll(request.Body)
	d.mu.Lock()
	d.received = append(d.received, Received{request.Header.Clone(), string(body)})
	requestID := "REQ" + strconv.Itoa(len(d.received))
	answer := OK("{}")
	if len(d.script) > 0 {
		answer, d.script = d.script[0], d.script[1:]
	}
	d.mu.Unlock()
	switch answer.Failure {
	case "reset", "close":
		d.hangUp(writer, answer.Failure == "reset")
		return
	case "timeout":
		d.stall()
		d.hangUp(writer, true)
		return
	}
	headers := answer.Headers
	if headers == nil {
		headers = map[string]string{"content-type": "application/x-amz-json-1.0", "x-amzn-requestid": requestID}
	}
	for name, value := range headers {
		writer.Header().Set(name, value)
	}
	length := len(answer.Body)
	if answer.Failure == "truncated" || answer.Failure == "stalled" {
		length += 100
	}
	writer.Header().Set("content-length", strconv.Itoa(length))
	writer.WriteHeader(answer.Status)
	_, _ = io.WriteString(writer, answer.Body)
	if answer.Failure == "stalled" {
		_ = http.NewResponseController(writer).Flush()
		d.stall()
	}
}

func (d *Dynamo) stall() {
	select {
	case <-d.done:
	case <-time.After(5 * time.Second):
	}
}

func (d *Dynamo) hangUp(writer http.ResponseWriter, reset bool) {
	conn, _, err := writer.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
