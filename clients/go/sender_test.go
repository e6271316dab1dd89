package oncewatch

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oncewatch/oncewatch/clients/go/internal/peers"
)

func TestAbsent(t *testing.T) {
	newSocket(t)
	report("first")
	expectStats(t, "off", func(s Statistics) bool { return s.Dropped == 3 && s.Pending == 0 && !s.Connected })
	before := time.Now()
	for range 1000 {
		Begin("default", "t", Request{Body: []byte("{}")}).End(OK, Result{})
	}
	if duration := time.Since(before); duration > 100*time.Millisecond {
		t.Errorf("1000 attempts while off took %v", duration)
	}
	expectStats(t, "all dropped", func(s Statistics) bool { return s.Dropped == 3003 && s.Sent == 0 })
	peers.Until(t, "the sender's goroutine to end", func() bool { return senders() == 0 })
}

func TestRefused(t *testing.T) {
	path := newSocket(t)
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	_ = listener.Close()
	report("t")
	expectStats(t, "off", func(s Statistics) bool { return s.Dropped == 3 && s.Pending == 0 })
}

func TestNotASocket(t *testing.T) {
	path := newSocket(t)
	if err := os.WriteFile(path, []byte("file"), 0o600); err != nil {
		t.Fatal(err)
	}
	report("t")
	expectStats(t, "off", func(s Statistics) bool { return s.Dropped == 3 && s.Pending == 0 })
}

func TestTriedAgainAndDropsReported(t *testing.T) {
	path := newSocket(t)
	process.limits.retry = 100 * time.Millisecond
	report("lost")
	expectStats(t, "off", func(s Statistics) bool { return s.Dropped == 3 })
	sidecar := peers.StartCollector(t, path)
	report("lost, too")
	time.Sleep(120 * time.Millisecond)
	report("arrives")
	sidecar.WaitOf(t, "token", "arrives", 3)
	reports := sidecar.WaitOf(t, "type", "client_report", 1)
	expectEqual(t, "dropped", reports[0].Number("dropped"), 6)
	expectEqual(t, "client", reports[0].Text("client"), clientName())
	report("again")
	sidecar.Wait(t, 7)
}

func TestAskedForAtMostEveryFiveSeconds(t *testing.T) {
	expectEqual(t, "interval", newSender().limits.retry, 5*time.Second)
}

func TestAStalledSidecarIsNeverWaitedFor(t *testing.T) {
	sidecar := newSidecar(t)
	sidecar.Paused.Store(true)
	process.limits.write = 20 * time.Millisecond
	filler := strings.Repeat("x", 400)
	slowest := time.Duration(0)
	for index := range 4000 {
		before := time.Now()
		Begin("default", fmt.Sprint(index, filler), Request{Body: []byte(`{}`)}).End(OK, Result{})
		slowest = max(slowest, time.Since(before))
		if index%50 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	if slowest > 200*time.Millisecond {
		t.Errorf("an attempt took %v", slowest)
	}
	stats := Stats()
	if stats.Dropped == 0 || stats.Pending == 0 || stats.Pending > 1000 {
		t.Errorf("nothing was stalled: %+v", stats)
	}
	before := time.Now()
	if Flush(200 * time.Millisecond) {
		t.Error("flushed to nobody")
	}
	if waited := time.Since(before); waited < 200*time.Millisecond || waited > 500*time.Millisecond {
		t.Errorf("flush took %v", waited)
	}
	sidecar.Paused.Store(false)
	expectStats(t, "all written", func(s Statistics) bool { return s.Pending == 0 })
	report("last")
	sidecar.WaitOf(t, "token", "last", 3)
	stats = Stats()
	reported := 0.0
	for _, event := range sidecar.Of("type", "client_report") {
		reported += event.Number("dropped")
	}
	expectEqual(t, "reported", reported, stats.Dropped)
	expectEqual(t, "all accounted for", stats.Sent+stats.Dropped, 4001*3)
	arrived := len(sidecar.Events()) - len(sidecar.Of("type", "client_report"))
	expectEqual(t, "arrived", arrived, stats.Sent)
}

func TestTheBufferIsBounded(t *testing.T) {
	sidecar := newSidecar(t)
	sidecar.Paused.Store(true)
	process.limits.write = 10 * time.Millisecond
	for range 2000 {
		Begin("default", "t", Request{Body: make([]byte, 60_000)})
		process.queue.mu.Lock()
		if process.queue.bytes > 256*1024 || len(process.queue.records)+process.queue.taken > 1000 {
			t.Errorf("%d bytes, %d events", process.queue.bytes, len(process.queue.records))
		}
		process.queue.mu.Unlock()
	}
	if Stats().Dropped < 1000 {
		t.Errorf("%+v", Stats())
	}
	sidecar.Paused.Store(false)
	expectStats(t, "all written", func(s Statistics) bool { return s.Pending == 0 })
	process.queue.mu.Lock()
	defer process.queue.mu.Unlock()
	expectEqual(t, "bytes of an empty queue", process.queue.bytes, 0)
}

// What Begin checks beforehand may have changed when an event is queued.
func TestTheQueueRefusesWhatIsTooMuch(t *testing.T) {
	for size, expected := range map[int]int{0: 1000, 1000: 219} {
		limited := queue{}
		attempt := &Attempt{token: strings.Repeat("x", size)}
		queued := 0
		for range 1500 {
			if ok, _ := limited.put(record{attempt: attempt}); ok {
				queued++
			}
		}
		expectEqual(t, "queued", queued, expected)
		expectEqual(t, "dropped", limited.dropped, 1500-expected)
		if limited.bytes > 256*1024 {
			t.Errorf("%d bytes", limited.bytes)
		}
	}
}

func TestADroppedStartLeavesItsFingerprintsToTheEnd(t *testing.T) {
	sidecar := newSidecar(t)
	// Room for an attempt, found by looking, and taken before the start is queued.
	attempt := &Attempt{sender: process, number: 1, open: true, observed: true, began: time.Now(), callBegan: time.Now()}
	attempt.describe("x", "t", &Request{Call: "c", Body: []byte(`{"a":1}`)})
	attempt.EndCall()
	end := sidecar.Wait(t, 2)[0]
	expectEqual(t, "fp", end.Text("fp")+end.Text("fp_raw"), func() string {
		prints := Fingerprint("x", []byte(`{"a":1}`), "")
		return prints.FP + prints.FPRaw
	}())
}

func TestBatchesWithinMilliseconds(t *testing.T) {
	sidecar := newSidecar(t)
	for index := range 20 {
		before := time.Now()
		report(fmt.Sprint(index))
		for len(sidecar.Of("token", fmt.Sprint(index))) < 3 && time.Since(before) < time.Second {
			time.Sleep(100 * time.Microsecond)
		}
		if waited := time.Since(before); waited > 500*time.Millisecond {
			t.Errorf("took %v", waited)
		}
	}
	sidecar.Wait(t, 60)
}

// brokenConn takes some bytes and is then lost.
type brokenConn struct {
	net.Conn
	left  int
	taken []byte
}

func (c *brokenConn) Write(data []byte) (int, error) {
	count := min(c.left, len(data))
	c.left -= count
	c.taken = append(c.taken, data[:count]...)
	return count, errors.New("lost")
}
func (c *brokenConn) Close() error                     { return nil }
func (c *brokenConn) SetWriteDeadline(time.Time) error { return nil }

func TestALineThatWasPartlyWrittenIsSentAgainWhole(t *testing.T) {
	for _, left := range []int{0, 1, 333, 5000} {
		t.Run(fmt.Sprint(left), func(t *testing.T) {
			sidecar := newSidecar(t)
			broken := &brokenConn{left: left}
			process.conn, process.openedAt, process.checkedAt = broken, time.Now().Add(-time.Hour), time.Now()
			for index := range 100 {
				report(fmt.Sprint(index))
			}
			expectStats(t, "all sent", func(s Statistics) bool { return s.Sent == 300 && s.Dropped == 0 })
			whole := bytes.Count(broken.taken, []byte{'\n'})
			events := sidecar.Wait(t, 300-whole)
			expectEqual(t, "taken", len(broken.taken), left)
			expectEqual(t, "next", events[0].Text("token"), fmt.Sprint(whole/3))
			expectEqual(t, "last", events[len(events)-1].Text("token"), "99")
		})
	}
}

// A reader of its own for each connection, which goes away amid the stream.
func TestClosedInTheMiddle(t *testing.T) {
	path := newSocket(t)
	process.limits.lived = 0
	process.limits.write = 20 * time.Millisecond
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	received := make(chan []byte, 100)
	go func() {
		for number := range 100 {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			var stream io.Reader = conn
			if number < 3 {
				stream = io.LimitReader(conn, 1000)
			}
			data, _ := io.ReadAll(stream)
			_ = conn.Close()
			received <- data
		}
	}()
	for index := range 300 {
		report(fmt.Sprintf("token-%03d", index))
		time.Sleep(200 * time.Microsecond)
	}
	expectStats(t, "all written", func(s Statistics) bool { return s.Pending == 0 })
	_ = process.conn.Close()
	streams := 0
	last := ""
	for streams < 4 {
		data := <-received
		streams++
		lines := bufio.NewScanner(bytes.NewReader(data[:bytes.LastIndexByte(data, '\n')+1]))
		for lines.Scan() {
			var event peers.Event
			if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
				t.Fatalf("connection %d: %v: %s", streams, err, lines.Text())
			}
			if event.Text("token") < last && event.Text("type") != "client_report" {
				t.Fatalf("connection %d: %s after %s", streams, event.Text("token"), last)
			}
			last = max(last, event.Text("token"))
		}
	}
	expectEqual(t, "the last token", last, "token-299")
	stats := Stats()
	expectEqual(t, "all accounted for", stats.Sent+stats.Dropped, 900)
}

func TestSidecarRestart(t *testing.T) {
	path := newSocket(t)
	process.limits.lived = 0
	first := peers.StartCollector(t, path)
	report("one")
	first.Wait(t, 3)
	first.Close()
	second := peers.StartCollector(t, path)
	report("two")
	expectEqual(t, "events", tokensOf(second.Wait(t, 3)), map[string]int{"two": 3})
	expectEqual(t, "dropped", Stats().Dropped, 0)
}

func TestSocketFileReplacedWhileTheOldServerLives(t *testing.T) {
	path := newSocket(t)
	process.limits.check = 0
	old := peers.StartCollector(t, path)
	report("one")
	old.Wait(t, 3)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	replacement := peers.StartCollector(t, path)
	report("two")
	expectEqual(t, "events", tokensOf(replacement.Wait(t, 3)), map[string]int{"two": 3})
	old.Wait(t, 3)
	old.Abandon()
}

// The line that the old server got a part of goes whole to the new one.
func TestSocketFileReplacedWhileTheOldServerIsStalled(t *testing.T) {
	path := newSocket(t)
	process.limits.check, process.limits.write = 0, 20*time.Millisecond
	stalled := peers.StartCollector(t, path)
	stalled.Paused.Store(true)
	for Stats().Dropped == 0 {
		for index := range 20 {
			report(fmt.Sprint(index, strings.Repeat("x", 450)))
		}
		time.Sleep(3 * time.Millisecond)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	replacement := peers.StartCollector(t, path)
	expectStats(t, "all written", func(s Statistics) bool { return s.Pending == 0 })
	stalled.Paused.Store(false)
	stats := Stats()
	arrived := func() uint64 {
		reports := len(replacement.Of("type", "client_report")) + len(stalled.Of("type", "client_report"))
		return uint64(len(replacement.Events()) + len(stalled.Events()) - reports)
	}
	peers.Until(t, "every event once", func() bool { return arrived() == stats.Sent })
	if len(replacement.Events()) < 200 {
		t.Errorf("%d events at the new server", len(replacement.Events()))
	}
}

func TestAServerThatClosesAtOnceIsNotHammered(t *testing.T) {
	path := newSocket(t)
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var accepted atomic.Int64
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			_ = conn.Close()
		}
	}()
	for range 100 {
		report("t")
		time.Sleep(5 * time.Millisecond)
	}
	if accepted.Load() < 1 || accepted.Load() > 2 {
		t.Errorf("%d connections", accepted.Load())
	}
	if Stats().Dropped == 0 {
		t.Error("nothing was dropped")
	}
}

func TestManyGoroutines(t *testing.T) {
	sidecar := newSidecar(t)
	var group sync.WaitGroup
	for worker := range 16 {
		group.Add(1)
		go func() {
			defer group.Done()
			for index := range 20 {
				report(fmt.Sprintf("%d/%d", worker, index))
				time.Sleep(time.Millisecond)
			}
		}()
	}
	group.Wait()
	events := sidecar.Wait(t, 960)
	if tokens := tokensOf(events); len(tokens) != 320 {
		t.Errorf("%d tokens", len(tokens))
	}
	order := map[string]int{}
	for _, event := range events {
		expected := []string{"attempt_start", "attempt_end", "call_end"}[order[event.Text("token")]]
		order[event.Text("token")]++
		if event.Text("type") != expected {
			t.Fatalf("%s instead of %s", event.Text("type"), expected)
		}
	}
	expectEqual(t, "dropped", Stats().Dropped, 0)
}

func senders() int {
	var profile bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&profile, 2)
	return strings.Count(profile.String(), "created by github.com/oncewatch/oncewatch/clients/go.(*sender).send")
}

func TestNoGoroutineBeforeTheFirstEventAndAfterTheLast(t *testing.T) {
	sidecar := newSidecar(t)
	expectEqual(t, "before", senders(), 0)
	reports := 0
	// One report is not enough: on a busy machine its sender has come and gone before it is looked for.
	peers.Until(t, "one with an event", func() bool {
		report("t")
		reports++
		return senders() == 1
	})
	sidecar.Wait(t, 3*reports)
	peers.Until(t, "its end", func() bool { return senders() == 0 })
	if !Stats().Connected {
		t.Error("the connection was not kept")
	}
	report("t")
	sidecar.Wait(t, 3*(reports+1))
	expectEqual(t, "connections", len(sidecar.Streams()), 1)
}

func TestAFailureOfTheSenderIsCountedAndKeptFromTheApplication(t *testing.T) {
	sidecar := newSidecar(t)
	process.limits.retry = 20 * time.Millisecond
	report("one")
	sidecar.Wait(t, 3)
	before := Stats().Failures
	process.queue.mu.Lock()
	process.queue.records = append(process.queue.records, record{})
	process.queue.mu.Unlock()
	report("lost")
	expectStats(t, "the failure", func(s Statistics) bool { return s.Failures == before+1 && s.Pending == 0 })
	if !strings.Contains(Stats().LastFailure, "nil pointer") {
		t.Error(Stats().LastFailure)
	}
	expectEqual(t, "lost", Stats().Dropped, 4)
	time.Sleep(30 * time.Millisecond)
	report("two")
	sidecar.WaitOf(t, "token", "two", 3)
}
