// Package peers has the other ends of the client's two conversations, for its
// tests: a sidecar that collects, and a DynamoDB that follows a script.
package peers

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Event is one line that a client sent.
type Event map[string]any

// Text is a string member, empty if absent.
func (e Event) Text(name string) string {
	text, _ := e[name].(string)
	return text
}

// Number is a number member, -1 if absent.
func (e Event) Number(name string) float64 {
	number, ok := e[name].(float64)
	if !ok {
		return -1
	}
	return number
}

// Collector is a stream socket server that keeps every byte of every connection.
type Collector struct {
	Paused   atomic.Bool
	listener *net.UnixListener
	mu       sync.Mutex
	streams  [][]byte
	conns    []net.Conn
}

// Collect listens at path.
func Collect(path string) (*Collector, error) {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	c := &Collector{listener: listener}
	go c.accept()
	return c, nil
}

// StartCollector listens at path until the test ends.
func StartCollector(t testing.TB, path string) *Collector {
	t.Helper()
	c, err := Collect(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (c *Collector) accept() {
	for {
		conn, err := c.listener.Accept()
		if err != nil {
			return
		}
		c.mu.Lock()
		index := len(c.streams)
		c.streams = append(c.streams, nil)
		c.conns = append(c.conns, conn)
		c.mu.Unlock()
		go c.read(conn, index)
	}
}

func (c *Collector) read(conn net.Conn, index int) {
	buffer := make([]byte, 64*1024)
	for {
		for c.Paused.Load() {
			time.Sleep(5 * time.Millisecond)
		}
		count, err := conn.Read(buffer)
		c.mu.Lock()
		c.streams[index] = append(c.streams[index], buffer[:count]...)
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Streams is what each connection sent so far.
func (c *Collector) Streams() [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	copies := make([][]byte, len(c.streams))
	for index, stream := range c.streams {
		copies[index] = bytes.Clone(stream)
	}
	return copies
}

// Events are the whole lines so far, in order of connections; a line that is no JSON object is a panic.
func (c *Collector) Events() []Event {
	var events []Event
	for _, stream := range c.Streams() {
		for _, line := range bytes.SplitAfter(stream, []byte{'\n'}) {
			if !bytes.HasSuffix(line, []byte{'\n'}) {
				continue
			}
			var event Event
			if err := json.Unmarshal(line, &event); err != nil {
				panic("not an event: " + string(line))
			}
			events = append(events, event)
		}
	}
	return events
}

// Of are the events whose member has this text.
func (c *Collector) Of(name, text string) []Event {
	var found []Event
	for _, event := range c.Events() {
		if event.Text(name) == text {
			found = append(found, event)
		}
	}
	return found
}

// Wait is for exactly count events; it also waits a moment for one too many.
func (c *Collector) Wait(t testing.TB, count int) []Event {
	t.Helper()
	return waitFor(t, count, c.Events)
}

// WaitOf is Wait for the events whose member has this text.
func (c *Collector) WaitOf(t testing.TB, name, text string, count int) []Event {
	t.Helper()
	return waitFor(t, count, func() []Event { return c.Of(name, text) })
}

func waitFor(t testing.TB, count int, get func() []Event) []Event {
	t.Helper()
	Until(t, "the events", func() bool { return len(get()) >= count })
	time.Sleep(20 * time.Millisecond)
	events := get()
	if len(events) != count {
		t.Fatalf("%d events instead of %d: %v", len(events), count, events)
	}
	return events
}

// Until polls for at most 10 s.
func Until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("waited 10 s for %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// Close ends the server and its connections, and leaves no file.
func (c *Collector) Close() {
	c.Abandon()
	_ = os.Remove(c.listener.Addr().String())
}

// Abandon is Close without removing the file.
func (c *Collector) Abandon() {
	_ = c.listener.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close()
	}
}
