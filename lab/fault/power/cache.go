// Package power holds what a power cut takes away: the volatile cache of a disk.
package power

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"

	"github.com/vdevil/vdevil/lab/nbd"
)

// ErrOff is the answer of a disk whose power was cut.
var ErrOff = errors.New("the power is off")

// Cache is the write cache of a disk. Writes stay in it until a flush, a write with FUA at the same place, or until newer
// ones need the room; then they are done in their order. A cut takes what is left.
type Cache struct {
	next  nbd.Handler
	limit int64

	mu      sync.Mutex
	writes  []nbd.Request // oldest first; data of their own
	size    int64
	powered bool
}

// NewCache puts a cache of limit bytes before a disk.
func NewCache(next nbd.Handler, limit int64) *Cache {
	return &Cache{next: next, limit: limit, powered: true}
}

// Handle does a request.
func (c *Cache) Handle(ctx context.Context, q *nbd.Request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.powered {
		return errors.Join(ErrOff, nbd.ErrDisconnect)
	}
	switch {
	case q.Op == nbd.Read:
		return c.read(ctx, q)
	case q.Op == nbd.Flush:
		if err := c.evict(ctx, 0); err != nil {
			return err
		}
		return c.next.Handle(ctx, q)
	case q.FUA: // what is older at its place must not come later
		if err := c.evict(ctx, 0); err != nil {
			return err
		}
		return c.next.Handle(ctx, q)
	}
	own := *q
	own.Data = append([]byte(nil), q.Data...)
	c.writes, c.size = append(c.writes, own), c.size+int64(len(own.Data))
	return c.evict(ctx, c.limit)
}

// read reads from the disk and puts what is cached over it.
func (c *Cache) read(ctx context.Context, q *nbd.Request) error {
	if err := c.next.Handle(ctx, q); err != nil {
		return err
	}
	for _, w := range c.writes {
		from, to := max(w.Offset, q.Offset), min(w.Offset+w.Length, q.Offset+q.Length)
		if from >= to {
			continue
		}
		if part := q.Data[from-q.Offset : to-q.Offset]; w.Op == nbd.Write {
			copy(part, w.Data[from-w.Offset:])
		} else {
			clear(part)
		}
	}
	return nil
}

// evict writes the oldest until no more than keep bytes are left; with 0 everything.
func (c *Cache) evict(ctx context.Context, keep int64) error {
	for len(c.writes) > 0 && (keep == 0 || c.size > keep) {
		if err := c.next.Handle(ctx, &c.writes[0]); err != nil {
			return err
		}
		c.size -= int64(len(c.writes[0].Data))
		c.writes = c.writes[1:]
	}
	return nil
}

// Cut switches the disk off: of what is in the cache each write reaches the disk with a probability, in any case in its
// order, and the rest is lost. It returns how many were. Requests fail from then on.
func (c *Cache) Cut(ctx context.Context, r *rand.Rand, probability float64) (lost int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.powered = false
	for i := range c.writes {
		if r.Float64() >= probability {
			lost++
		} else if err := c.next.Handle(ctx, &c.writes[i]); err != nil {
			return lost, err
		}
	}
	c.writes, c.size = nil, 0
	return lost, nil
}
