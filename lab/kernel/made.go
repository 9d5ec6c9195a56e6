package kernel

import (
	"fmt"
	"sync"
)

// made are types that no module declares and callers describe: an array as long as a buffer is, the bits of a word that C
// code takes apart with shifts. Their ids are negative.
type made struct {
	mu    sync.RWMutex
	nodes []*node
	ids   map[string]int32
}

func (m *made) node(id int32) *node {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.nodes[-id-1]
}

// intern gives one type for equal descriptions.
func (m *made) intern(n *node) int32 {
	key := fmt.Sprintf("%+v", *n)
	m.mu.Lock()
	defer m.mu.Unlock()
	if id, ok := m.ids[key]; ok {
		return id
	}
	if m.ids == nil {
		m.ids = map[string]int32{}
	}
	m.nodes = append(m.nodes, n)
	id := -int32(len(m.nodes))
	m.ids[key] = id
	return id
}

// ArrayOf is an array of count elements.
func (t *Types) ArrayOf(elem Type, count int) Type {
	return Type{t, t.made.intern(&node{Kind: Array, Elem: elem.id, Count: int64(count)})}
}

// StructOf is a struct of a name, a size in bytes and fields, which may overlap and leave gaps.
func (t *Types) StructOf(name string, size int, fields ...Field) Type {
	n := &node{Kind: Struct, Name: name, Size: uint64(size)}
	for _, f := range fields {
		n.Members = append(n.Members, member{Name: f.Name, Type: f.Type.id, Bit: uint64(8*f.Offset + f.BitOffset), Bits: uint32(f.BitSize)})
	}
	return Type{t, t.made.intern(n)}
}
