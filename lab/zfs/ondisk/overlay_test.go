package ondisk

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// An overlay reads what was written to it, over what lies below, which stays as it was; and goes back to a state.
func TestOverlay(t *testing.T) {
	const size = 10*overlayPage + 100
	base := make([]byte, size)
	random := rand.New(rand.NewPCG(1, 1))
	for i := range base {
		base[i] = byte(random.Uint32())
	}
	was, want := bytes.Clone(base), bytes.Clone(base)
	o := newOverlay(Device{Data: bytes.NewReader(base), Size: size})
	same := func(want []byte) {
		t.Helper()
		for range 200 {
			at := random.Int64N(size)
			p := make([]byte, random.Int64N(size-at+1))
			if n, err := o.ReadAt(p, at); n != len(p) || err != nil || !bytes.Equal(p, want[at:at+int64(n)]) {
				t.Fatalf("%d bytes at %d: %d, %v", len(p), at, n, err)
			}
		}
	}
	var state map[int64][]byte
	var then []byte
	for i := range 100 {
		if i == 50 {
			state, then = o.state(), bytes.Clone(want)
		}
		at := random.Int64N(size)
		p := bytes.Repeat([]byte{byte(i)}, int(random.Int64N(min(3*overlayPage, size-at))))
		if n, err := o.WriteAt(p, at); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
		copy(want[at:], p)
	}
	same(want)
	if _, err := o.WriteAt([]byte{1, 2}, size-1); err == nil {
		t.Error("a write beyond the end")
	}
	if !bytes.Equal(base, was) {
		t.Error("the device has changed")
	}
	out := writerAt(bytes.Clone(base))
	if err := o.writeOut(out, func(int64) bool { return true }); err != nil || !bytes.Equal(out, want) {
		t.Error("what is written out is something else:", err)
	}
	o.restore(state)
	same(then)
}

type writerAt []byte

func (w writerAt) WriteAt(p []byte, at int64) (int, error) { return copy(w[at:], p), nil }
