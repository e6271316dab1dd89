package oncewatch

import (
	"bytes"
	"errors"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/oncewatch/oncewatch/clients/go/internal/failure"
)

const (
	// The time in which events gather for one write.
	nap            = 2 * time.Millisecond
	chunkBytes     = 64 * 1024
	connectTimeout = 200 * time.Millisecond
)

// process sends the events of this process.
var process = newSender()

// The start of the monotonic clock by which a sender is on or off.
var epoch = time.Now()

// sender carries events to the sidecar's stream socket, or counts them as
// dropped. The application's goroutines only append to the queue; a goroutine
// that the first event of a burst starts, and that ends with the burst,
// connects and writes.
//
// With nothing at the socket's path it is off: events are dropped at the cost
// of a comparison, and the first one after 5 s tries again. A lost connection
// is replaced at once, going on with the first line that the old one did not
// take whole; lines that the kernel took and the sidecar never read are lost
// uncounted.
type sender struct {
	queue     queue
	offUntil  atomic.Int64 // nanoseconds since epoch; 0: on
	sent      atomic.Uint64
	connected atomic.Bool
	limits    limits

	// All below is the sending goroutine's; one hands it to the next through the queue's lock.
	client    string
	taken     []record
	next      int
	lines     []byte
	offset    int
	events    int
	size      int
	reporting uint64
	path      string
	conn      net.Conn
	identity  os.FileInfo
	openedAt  time.Time
	checkedAt time.Time
}

// limits are intervals that tests shorten.
type limits struct {
	retry time.Duration
	write time.Duration
	check time.Duration
	// A connection lost sooner than this counts as nothing there, or an accept-and-close loop would be hammered.
	lived time.Duration
}

func newSender() *sender {
	return &sender{limits: limits{
		retry: 5 * time.Second, write: time.Second, check: time.Second, lived: time.Second,
	}}
}

// accepting is false while a new attempt would only be dropped: nothing needs to be done for it.
func (s *sender) accepting(bodyBytes int) bool {
	return !s.isOff() && s.queue.hasRoom(bodyBytes)
}

func (s *sender) isOff() bool {
	until := s.offUntil.Load()
	return until != 0 && int64(time.Since(epoch)) < until
}

// send queues one event; false if it was dropped (and counted).
func (s *sender) send(event record) bool {
	if s.isOff() {
		s.queue.countDropped(1)
		return false
	}
	queued, start := s.queue.put(event)
	if start {
		go s.run()
	}
	return queued
}

func (s *sender) flush(timeout time.Duration) bool {
	deadline := time.Now().Add(timeout)
	for {
		if pending, _ := s.queue.counts(); pending == 0 {
			return true
		}
		if !time.Now().Before(deadline) {
			return false
		}
		time.Sleep(nap / 4)
	}
}

func (s *sender) stats() Statistics {
	pending, dropped := s.queue.counts()
	failures, last := failure.Counted()
	return Statistics{
		Connected: s.connected.Load(), Sent: s.sent.Load(), Pending: pending, Dropped: dropped,
		Failures: failures, LastFailure: last,
	}
}

func (s *sender) run() {
	for {
		time.Sleep(nap)
		if s.queue.stop() {
			return
		}
		s.guardedPump()
	}
}

func (s *sender) guardedPump() {
	defer func() {
		if value := recover(); value != nil {
			failure.Count(value)
			s.disconnect()
			s.turnOff()
		}
	}()
	s.pump()
}

// pump writes everything that is queued, or turns off.
func (s *sender) pump() {
	for s.offset < len(s.lines) || s.load() {
		if s.conn != nil && s.isReplaced() {
			s.disconnect()
		}
		if s.conn == nil && !s.connect() {
			s.turnOff()
			return
		}
		s.write()
	}
}

// load makes the lines of the next write; false if there is nothing to write.
func (s *sender) load() bool {
	if s.next == len(s.taken) {
		clear(s.taken)
		s.taken, s.next = s.queue.take(s.taken[:0]), 0
	}
	if s.client == "" {
		s.client = string(appendQuoted(nil, clientName()))
	}
	s.lines, s.offset, s.events, s.size = s.lines[:0], 0, 0, 0
	for s.next < len(s.taken) && len(s.lines) < chunkBytes {
		event := &s.taken[s.next]
		s.lines = event.appendLine(s.lines, s.client)
		s.next++
		s.events++
		s.size += event.size
	}
	s.reporting = s.queue.unreported()
	if s.reporting > 0 && !s.isOff() {
		s.lines = append(s.lines, `{"type":"client_report","client":`...)
		s.lines = append(s.lines, s.client...)
		s.lines = append(s.lines, `,"dropped":`...)
		s.lines = strconv.AppendUint(s.lines, s.reporting, 10)
		s.lines = append(s.lines, "}\n"...)
	} else {
		s.reporting = 0
	}
	return len(s.lines) > 0
}

func (s *sender) write() {
	_ = s.conn.SetWriteDeadline(time.Now().Add(s.limits.write))
	written, err := s.conn.Write(s.lines[s.offset:])
	s.offset += written
	switch {
	case err == nil:
		s.queue.countReported(s.reporting)
		s.sent.Add(uint64(s.events))
		s.finishChunk()
	case errors.Is(err, os.ErrDeadlineExceeded):
		// The sidecar does not read; meanwhile the queue fills and then drops.
	default:
		lived := time.Since(s.openedAt)
		s.disconnect()
		if lived < s.limits.lived {
			s.turnOff()
		}
	}
}

func (s *sender) finishChunk() {
	s.queue.release(s.events, s.size)
	s.lines, s.offset, s.events, s.size, s.reporting = s.lines[:0], 0, 0, 0, 0
}

func (s *sender) connect() bool {
	if s.isOff() {
		return false
	}
	path := socketPath()
	if path == "" {
		return false
	}
	conn, err := net.DialTimeout("unix", path, connectTimeout)
	if err != nil {
		return false
	}
	identity, err := os.Stat(path)
	if err != nil {
		_ = conn.Close()
		return false
	}
	s.conn, s.path, s.identity = conn, path, identity
	s.openedAt = time.Now()
	s.checkedAt = s.openedAt
	s.offUntil.Store(0)
	s.connected.Store(true)
	return true
}

// isReplaced tells whether another socket lies at the path; looked up once a second at most.
func (s *sender) isReplaced() bool {
	now := time.Now()
	if now.Sub(s.checkedAt) < s.limits.check {
		return false
	}
	s.checkedAt = now
	identity, err := os.Stat(s.path)
	return err == nil && !os.SameFile(identity, s.identity)
}

// disconnect closes, and goes back to the start of the line that was being written.
func (s *sender) disconnect() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
		s.connected.Store(false)
	}
	s.offset = bytes.LastIndexByte(s.lines[:s.offset], '\n') + 1
}

// turnOff drops and counts what is queued: later, the sidecar would judge it by the wrong time.
func (s *sender) turnOff() {
	s.offUntil.Store(int64(time.Since(epoch) + s.limits.retry))
	lost := bytes.Count(s.lines[s.offset:], []byte{'\n'})
	if s.reporting > 0 {
		lost--
	}
	lost = min(max(lost, 0), s.events)
	s.sent.Add(uint64(s.events - lost))
	lost += len(s.taken) - s.next
	clear(s.taken)
	s.taken, s.next = s.taken[:0], 0
	s.events, s.size = 0, 0
	s.finishChunk()
	s.queue.discard(lost)
}
