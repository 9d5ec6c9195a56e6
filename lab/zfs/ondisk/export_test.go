package ondisk

import (
	"context"
	"maps"
)

// Forged is the pool with other content in some of its metadata blocks, as if that had a valid checksum: all else is read
// from the devices.
func (p *Pool) Forged(ctx context.Context, blocks map[BlkPtr]Block) (*Pool, error) {
	q := *p
	q.cache = newCache(1 << 30)
	for b, block := range blocks {
		q.cache.put(b, block)
	}
	devices := map[uint64]*Device{}
	for _, v := range p.VDevs {
		for w := range v.All() {
			devices[w.GUID] = w.Device
		}
	}
	q.Features = maps.Clone(p.Features)
	if err := q.openMOS(ctx); err != nil {
		return nil, err
	}
	if err := q.treeOfMOS(ctx); err != nil {
		return nil, err
	}
	for _, v := range q.VDevs {
		if v == nil {
			continue
		}
		for w := range v.All() {
			w.Device = devices[w.GUID]
		}
	}
	q.loadMappings(ctx)
	return &q, nil
}
