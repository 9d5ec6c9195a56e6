package ondisk

import (
	"context"
	"encoding/binary"
)

// Checkpoint is the uberblock to which the pool can be rewound. A pool without one gives ErrNotFound.
func (p *Pool) Checkpoint(ctx context.Context) (*Uberblock, error) {
	e, err := p.Directory.Lookup(ctx, "com.delphix:zpool_checkpoint")
	if err != nil {
		return nil, err
	}
	if e.IntSize != 8 {
		return nil, corrupt("a checkpoint made of integers of %d bytes", e.IntSize)
	}
	// The ZAP keeps it as numbers, of which there may be fewer than an uberblock has today.
	raw := make([]byte, 0, UberblockSize)
	for _, w := range e.Uint64s() {
		raw = binary.LittleEndian.AppendUint64(raw, w)
	}
	u, err := DecodeUberblock(append(raw, make([]byte, UberblockSize)...))
	if err != nil {
		return nil, err
	}
	return &u, nil
}

// OpenCheckpoint opens the pool as it was when the checkpoint was made, on the same devices. Both share caches.
func (p *Pool) OpenCheckpoint(ctx context.Context) (*Pool, error) {
	u, err := p.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	q := *p
	q.Uberblock = *u
	if err := q.openMOS(ctx); err != nil {
		return nil, err
	}
	return &q, nil
}
