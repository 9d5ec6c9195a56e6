package machine

import (
	"context"
	"io"
	"os"
	"sync"
)

// Console keeps every byte a guest printed, in memory and in a file, and lets any number of readers follow it. The file
// is written as bytes arrive, so that it is whole even when the lab is killed.
type Console struct {
	mu    sync.Mutex
	buf   []byte
	file  *os.File
	grown chan struct{} // closed and replaced whenever buf grows or the console ends
	ended bool
	start int
}

// NewConsole keeps a console in a new file. history is what the guest had printed before, in the life of the checkpoint
// that the machine was forked from.
func NewConsole(path string, history []byte) (*Console, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	c := &Console{file: f, grown: make(chan struct{})}
	if _, err := c.Write(history); err != nil {
		f.Close()
		return nil, err
	}
	c.start = len(history)
	return c, nil
}

// Write appends what the guest printed.
func (c *Console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf = append(c.buf, p...)
	c.wake()
	return c.file.Write(p)
}

// Close marks the end: the machine is gone and readers get io.EOF after the last byte.
func (c *Console) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil
	}
	c.ended = true
	c.wake()
	return c.file.Close()
}

func (c *Console) wake() {
	close(c.grown)
	c.grown = make(chan struct{})
}

// Bytes is a copy of everything so far, history included.
func (c *Console) Bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]byte(nil), c.buf...)
}

// Start is the offset of this machine's first own byte, after the history.
func (c *Console) Start() int { return c.start }

// Path is the file.
func (c *Console) Path() string { return c.file.Name() }

// Len is the number of bytes so far.
func (c *Console) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.buf)
}

// Tail is a copy of the last n bytes or fewer.
func (c *Console) Tail(n int) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]byte(nil), c.buf[max(0, len(c.buf)-n):]...)
}

// Reader follows the console from an offset. Read blocks until the guest prints; it returns io.EOF when the console has
// ended and the context's error when that ends first.
func (c *Console) Reader(ctx context.Context, offset int) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		for {
			c.mu.Lock()
			n, grown, ended := copy(p, c.buf[min(offset, len(c.buf)):]), c.grown, c.ended
			c.mu.Unlock()
			if n > 0 || len(p) == 0 {
				offset += n
				return n, nil
			}
			if ended {
				return 0, io.EOF
			}
			select {
			case <-grown:
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
