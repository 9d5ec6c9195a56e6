package ondisk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
)

// overlay is a device with changes that are kept in memory. Pages are never changed once they are there, so that a copy of
// the map is a copy of the state.
type overlay struct {
	base io.ReaderAt
	size int64
	mu   sync.RWMutex
	page map[int64][]byte // by number
}

const overlayPage = 4096

func newOverlay(d Device) *overlay {
	return &overlay{base: d.Data, size: d.Size, page: map[int64][]byte{}}
}

// ReadAt reads from the device and puts what has changed over it.
func (o *overlay) ReadAt(p []byte, at int64) (int, error) {
	n, err := o.base.ReadAt(p, at)
	o.mu.RLock()
	defer o.mu.RUnlock()
	for i := at / overlayPage; i*overlayPage < at+int64(n); i++ {
		if page, ok := o.page[i]; ok {
			if start := i * overlayPage; start >= at {
				copy(p[start-at:n], page)
			} else {
				copy(p[:n], page[at-start:])
			}
		}
	}
	return n, err
}

// WriteAt keeps p. A write beyond the end is an error.
func (o *overlay) WriteAt(p []byte, at int64) (int, error) {
	if at < 0 || at > o.size || int64(len(p)) > o.size-at {
		return 0, fmt.Errorf("%d bytes at %d are beyond the %d of the device", len(p), at, o.size)
	}
	for i := at / overlayPage; i*overlayPage < at+int64(len(p)); i++ {
		start := i * overlayPage
		page := make([]byte, min(overlayPage, o.size-start))
		if n, err := o.ReadAt(page, start); n < len(page) {
			return 0, err
		}
		if start >= at {
			copy(page, p[start-at:])
		} else {
			copy(page[at-start:], p)
		}
		o.mu.Lock()
		o.page[i] = page
		o.mu.Unlock()
	}
	return len(p), nil
}

// state is what a later call of restore goes back to.
func (o *overlay) state() map[int64][]byte { return maps.Clone(o.page) }

func (o *overlay) restore(s map[int64][]byte) { o.page = s }

// writeOut writes the pages for which want is true, and which differ from the device, in order.
func (o *overlay) writeOut(w io.WriterAt, want func(offset int64) bool) error {
	for _, i := range slices.Sorted(maps.Keys(o.page)) {
		page, at := o.page[i], i*overlayPage
		if !want(at) {
			continue
		}
		was := make([]byte, len(page))
		if n, err := o.base.ReadAt(was, at); n < len(was) && !errors.Is(err, io.EOF) {
			return err
		}
		if bytes.Equal(was, page) {
			continue
		}
		if _, err := w.WriteAt(page, at); err != nil {
			return err
		}
	}
	return nil
}
