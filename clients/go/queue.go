package oncewatch

import "sync"

const (
	queuedEventsMax = 1000
	queuedBytesMax  = 256 * 1024
	// What one attempt needs: its events, and their bytes without the body.
	attemptEvents = 3
	attemptBytes  = 2048
)

// queue holds at most 1000 events or 256 KiB that are not yet written; the
// newest is refused when it is full. Its lock is held for a few assignments and
// never during I/O.
type queue struct {
	mu      sync.Mutex
	records []record
	// taken events are with the sender, still occupying the queue.
	taken    int
	bytes    int
	dropped  uint64
	reported uint64
	// running tells whether a goroutine is sending: there is at most one, and none while nothing happens.
	running bool
}

// put takes one event or counts it as dropped; start asks for a sending goroutine.
func (q *queue) put(event record) (queued, start bool) {
	event.size = event.estimate()
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.records)+q.taken >= queuedEventsMax || q.bytes+event.size > queuedBytesMax {
		q.dropped++
		return false, false
	}
	q.records = append(q.records, event)
	q.bytes += event.size
	start = !q.running
	q.running = true
	return true, start
}

// hasRoom tells whether an attempt begun now would find room for its events.
func (q *queue) hasRoom(bodyBytes int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.records)+q.taken+attemptEvents <= queuedEventsMax && q.bytes+attemptBytes+bodyBytes <= queuedBytesMax
}

func (q *queue) countDropped(events int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dropped += uint64(events)
}

// take gives all waiting events to the sender, in exchange for an empty slice.
func (q *queue) take(empty []record) []record {
	q.mu.Lock()
	defer q.mu.Unlock()
	records := q.records
	q.records = empty
	q.taken = len(records)
	return records
}

// release frees the room of taken events.
func (q *queue) release(events, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken -= events
	q.bytes -= bytes
}

// discard drops and counts lost events of the sender and all that wait.
func (q *queue) discard(lost int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dropped += uint64(lost + len(q.records))
	clear(q.records)
	q.records = q.records[:0]
	q.taken, q.bytes = 0, 0
}

// stop tells whether nothing waits; then the sending goroutine must end.
func (q *queue) stop() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.records) > 0 {
		return false
	}
	q.running = false
	return true
}

// unreported is how many dropped events the sidecar does not know of yet.
func (q *queue) unreported() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped - q.reported
}

func (q *queue) countReported(events uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.reported += events
}

func (q *queue) counts() (pending, dropped uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return uint64(len(q.records) + q.taken), q.dropped
}
