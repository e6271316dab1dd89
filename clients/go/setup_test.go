package oncewatch

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oncewatch/oncewatch/clients/go/internal/failure"
	"github.com/oncewatch/oncewatch/clients/go/internal/peers"
)

// The test binary is also the program of the tests that need a process of their own.
func TestMain(m *testing.M) {
	if name := os.Getenv("ONCEWATCH_TEST_PROGRAM"); name != "" {
		programs[name]()
		return
	}
	os.Exit(m.Run())
}

// runProgram runs programs[name] in a process of its own.
func runProgram(t *testing.T, name string) string {
	t.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), "ONCEWATCH_TEST_PROGRAM="+name)
	type result struct {
		output []byte
		err    error
	}
	done := make(chan result, 1)
	go func() {
		output, err := command.CombinedOutput()
		done <- result{output, err}
	}()
	select {
	case ended := <-done:
		if ended.err != nil {
			t.Fatalf("%v: %s", ended.err, ended.output)
		}
		return strings.TrimSpace(string(ended.output))
	case <-time.After(20 * time.Second):
		_ = command.Process.Kill()
		t.Fatal("the program did not end")
	}
	return ""
}

// newSocket gives this test a sender of its own and a path for its sidecar.
func newSocket(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "events.sock")
	t.Setenv("ONCEWATCH_SOCKET", path)
	before := process
	process = newSender()
	sender := process
	failures, _ := failure.Counted()
	t.Cleanup(func() {
		peers.Until(t, "the sender to end", func() bool {
			sender.queue.mu.Lock()
			defer sender.queue.mu.Unlock()
			return !sender.queue.running
		})
		if sender.conn != nil {
			_ = sender.conn.Close()
		}
		process = before
		if now, last := failure.Counted(); now != failures && !t.Failed() && !strings.Contains(t.Name(), "Failure") {
			t.Errorf("%d failures inside the library: %s", now-failures, last)
		}
	})
	return path
}

// newSidecar is newSocket with a sidecar that reads.
func newSidecar(t *testing.T) *peers.Collector {
	t.Helper()
	return peers.StartCollector(t, newSocket(t))
}

func report(token string) {
	Begin("default", token, Request{}).End(OK, Result{})
}

func expectStats(t *testing.T, what string, ok func(Statistics) bool) {
	t.Helper()
	var last Statistics
	deadline := time.Now().Add(10 * time.Second)
	for {
		if last = Stats(); ok(last) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s: %+v", what, last)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func tokensOf(events []peers.Event) map[string]int {
	tokens := map[string]int{}
	for _, event := range events {
		tokens[event.Text("token")]++
	}
	return tokens
}

func expectEqual(t *testing.T, what string, found, expected any) {
	t.Helper()
	if fmt.Sprintf("%v", found) != fmt.Sprintf("%v", expected) {
		t.Errorf("%s: %v instead of %v", what, found, expected)
	}
}
