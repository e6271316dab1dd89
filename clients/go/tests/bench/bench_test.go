package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	oncewatch "github.com/oncewatch/oncewatch/clients/go"
	"github.com/oncewatch/oncewatch/clients/go/internal/peers"
	"github.com/oncewatch/oncewatch/clients/go/oncewatchaws"
)

// Begin and End through the generic API, with a sidecar that reads. A pause
// after each 100 attempts keeps the buffer from filling.
func BenchmarkAttempt(b *testing.B) {
	path := filepath.Join(b.TempDir(), "events.sock")
	b.Setenv("ONCEWATCH_SOCKET", path)
	peers.StartCollector(b, path)
	body := []byte(`{"TransactItems":[{"Delete":{"TableName":"orders","Key":{"id":{"S":"1"}}}}],"ClientRequestToken":"t"}`)
	dropped := oncewatch.Stats().Dropped
	b.ReportAllocs()
	for index := 0; index < b.N; index++ {
		attempt := oncewatch.Begin("dynamodb.TransactWriteItems", "t", oncewatch.Request{
			Body: body, TokenField: "ClientRequestToken", Scope: "eu-west-1",
		})
		attempt.End(oncewatch.OK, oncewatch.Result{HTTPStatus: 200, RequestID: "REQ"})
		if index%100 == 0 {
			b.StopTimer()
			time.Sleep(5 * time.Millisecond)
			b.StartTimer()
		}
	}
	b.ReportMetric(float64(oncewatch.Stats().Dropped-dropped)/float64(b.N), "dropped/op")
}

// A call of one attempt through the SDK's stack, with nothing to send to.
func BenchmarkStack(b *testing.B) {
	_ = os.Setenv("ONCEWATCH_SOCKET", filepath.Join(b.TempDir(), "absent.sock"))
	stack, err := newBareStack()
	if err != nil {
		b.Fatal(err)
	}
	options := oncewatchaws.APIOptions()
	for _, hooked := range []bool{false, true} {
		name := map[bool]string{false: "without", true: "absent"}[hooked]
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for index := 0; index < b.N; index++ {
				if err := stack.call(options[:map[bool]int{true: 1}[hooked]]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What the sender's goroutine does for each attempt, besides writing.
func BenchmarkFingerprint(b *testing.B) {
	stack, err := newBareStack()
	if err != nil {
		b.Fatal(err)
	}
	body := make([]byte, stack.request.ContentLength)
	if _, err := stack.request.GetStream().Read(body); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body)))
	for index := 0; index < b.N; index++ {
		oncewatch.Fingerprint("dynamodb.TransactWriteItems", body, "ClientRequestToken")
	}
}
