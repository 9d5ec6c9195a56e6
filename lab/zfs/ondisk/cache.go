package ondisk

import (
	"container/list"
	"sync"
)

// cache keeps blocks of metadata, the least recently used ones go first. A block is known by its whole pointer, so that
// what lies at an address at two times is two blocks.
type cache struct {
	mu    sync.Mutex
	limit int64
	size  int64
	byPtr map[BlkPtr]*list.Element
	used  list.List // of cached, the most recent first
}

type cached struct {
	ptr   BlkPtr
	block Block
}

// entryCost is about what an entry takes beside its data, in bytes.
const entryCost = 512

func newCache(limit int64) *cache {
	return &cache{limit: limit, byPtr: map[BlkPtr]*list.Element{}}
}

func (c *cache) get(b BlkPtr) (Block, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byPtr[b]
	if !ok {
		return Block{}, false
	}
	c.used.MoveToFront(e)
	return e.Value.(cached).block, true
}

func (c *cache) put(b BlkPtr, block Block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.byPtr[b]; ok || int64(len(block.Data)) > c.limit/4 {
		return
	}
	c.byPtr[b] = c.used.PushFront(cached{b, block})
	c.size += int64(len(block.Data)) + entryCost
	for c.size > c.limit {
		e := c.used.Back()
		old := c.used.Remove(e).(cached)
		delete(c.byPtr, old.ptr)
		c.size -= int64(len(old.block.Data)) + entryCost
	}
}
