// Package churn is the order in which a workload overwrites files, and with what: it follows from a seed, in the guest that writes and on
// the host that knows what must be there. It takes nothing but the standard library, as the guest's helper is compiled of it, too.
package churn

import (
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
)

// textSize is how much random text there is, of which pieces are cut.
const textSize = 64 << 10

// Sizes of pieces, in bytes.
const (
	least = 512
	most  = 32 << 10
)

// Churn is one such order. Names of files begin with its own name.
type Churn struct {
	r     *rand.Rand
	name  string
	files int
	text  [textSize]byte
}

// New begins at the first piece.
func New(seed uint64, name string, files int) *Churn {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails
	c := &Churn{r: rand.New(rand.NewPCG(seed, h.Sum64())), name: name, files: files}
	// Letters that no compression finds anything in but that they are letters.
	const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"
	for i := 0; i < textSize; i += 8 {
		var eight [8]byte
		binary.LittleEndian.PutUint64(eight[:], c.r.Uint64())
		for k, b := range eight {
			c.text[i+k] = letters[int(b)%len(letters)]
		}
	}
	return c
}

// Next is the next piece: what the beginning of a file is overwritten with. The bytes are the caller's until the next call.
func (c *Churn) Next() (file string, data []byte) {
	size := least + c.r.IntN(most-least+1)
	at := c.r.IntN(textSize - size + 1)
	return c.name + strconv.Itoa(c.r.IntN(c.files)), c.text[at : at+size]
}

// Write does the next pieces to files in memory, by name.
func (c *Churn) Write(files map[string][]byte, pieces int) {
	for range pieces {
		name, data := c.Next()
		old := files[name]
		if len(old) < len(data) {
			old = append(old, make([]byte, len(data)-len(old))...)
		}
		copy(old, data)
		files[name] = old
	}
}
