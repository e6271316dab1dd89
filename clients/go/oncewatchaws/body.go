package oncewatchaws

import (
	"io"
	"sync"

	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Larger buffers are left to the garbage collector.
const pooledBytesMax = 64 * 1024

// body is a copy of a request's bytes, on loan.
type body struct {
	bytes  []byte
	loaned *[]byte
}

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// inMemory is what the SDK's serialised requests are: a bytes.Reader or a
// strings.Reader, which can be read without moving the position that is sent.
type inMemory interface {
	io.ReaderAt
	Len() int
	Size() int64
}

func streamOf(request *smithyhttp.Request) (stream inMemory, ok bool) {
	if request != nil {
		stream, ok = request.GetStream().(inMemory)
	}
	return stream, ok
}

// bodyBytes is the length of what readBody would copy.
func bodyBytes(request *smithyhttp.Request) int {
	if stream, ok := streamOf(request); ok {
		return stream.Len()
	}
	return 0
}

// readBody copies what is about to be sent; nil for a stream of another kind,
// which only reading it would tell.
func readBody(request *smithyhttp.Request) body {
	stream, ok := streamOf(request)
	if !ok {
		return body{}
	}
	length := stream.Len()
	loaned := buffers.Get().(*[]byte)
	if cap(*loaned) < length {
		*loaned = make([]byte, length)
	}
	copied := (*loaned)[:length]
	if _, err := stream.ReadAt(copied, stream.Size()-int64(length)); err != nil && err != io.EOF {
		buffers.Put(loaned)
		return body{}
	}
	return body{bytes: copied, loaned: loaned}
}

func (b body) free() {
	if b.loaned != nil && cap(*b.loaned) <= pooledBytesMax {
		buffers.Put(b.loaned)
	}
}
