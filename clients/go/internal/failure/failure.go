// Package failure keeps errors inside this library from the application and counts them.
package failure

import (
	"fmt"
	"sync"
)

const textBytesMax = 200

var (
	mu    sync.Mutex
	count uint64
	last  string
)

// Recover, deferred, ends a panic of this library's own code. It must not be
// deferred around code of the application.
func Recover() {
	if value := recover(); value != nil {
		Count(value)
	}
}

// Count notes one failure, an error or the value of a panic.
func Count(value any) {
	text := fmt.Sprint(value)
	if len(text) > textBytesMax {
		text = text[:textBytesMax]
	}
	mu.Lock()
	defer mu.Unlock()
	count++
	last = text
}

// Counted is the number of failures of this process and the text of the last.
func Counted() (uint64, string) {
	mu.Lock()
	defer mu.Unlock()
	return count, last
}
