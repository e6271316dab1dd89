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

// A process has one connection: all benchmarks share a sidecar that reads.
func TestMain(m *testing.M) {
	directory, err := os.MkdirTemp("", "oncewatch-bench")
	exitOn(err)
	path := filepath.Join(directory, "events.sock")
	exitOn(os.Setenv("ONCEWATCH_SOCKET", path))
	sidecar, err := peers.Collect(path)
	exitOn(err)
	code := m.Run()
	sidecar.Close()
	_ = os.RemoveAll(directory)
	os.Exit(code)
}

// repeat pauses after each 100 attempts, which keeps the buffer from filling.
func repeat(b *testing.B, attempt func() error) {
	dropped := oncewatch.Stats().Dropped
	b.ReportAllocs()
	b.ResetTimer()
	for index := 0; index < b.N; index++ {
		if err := attempt(); err != nil {
			b.Fatal(err)
		}
		if index%100 == 99 {
			b.StopTimer()
			oncewatch.Flush(time.Second)
			b.StartTimer()
		}
	}
	b.ReportMetric(float64(oncewatch.Stats().Dropped-dropped)/float64(b.N), "dropped/op")
}

// Begin and End through the generic API.
func BenchmarkAttempt(b *testing.B) {
	body := []byte(`{"TransactItems":[{"Delete":{"TableName":"orders","Key":{"id":{"S":"1"}}}}],"ClientRequestToken":"t"}`)
	repeat(b, func() error {
		attempt := oncewatch.Begin("dynamodb.TransactWriteItems", "t", oncewatch.Request{
			Body: body, TokenField: "ClientRequestToken", Scope: "eu-west-1",
		})
		attempt.End(oncewatch.OK, oncewatch.Result{HTTPStatus: 200, RequestID: "REQ"})
		return nil
	})
}

// A call of one attempt through the SDK's stack.
func BenchmarkStack(b *testing.B) {
	stack, err := newBareStack()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("without", func(b *testing.B) { repeat(b, func() error { return stack.call(nil) }) })
	options := oncewatchaws.APIOptions()
	b.Run("with", func(b *testing.B) { repeat(b, func() error { return stack.call(options) }) })
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
