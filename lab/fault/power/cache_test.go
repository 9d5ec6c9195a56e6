package power

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/vdevil/vdevil/lab/nbd"
)

const size = 64 << 10

func disk(t *testing.T, limit int64) (*Cache, func() []byte) {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err == nil {
		err = f.Truncate(size)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return NewCache(nbd.File{File: f}, limit), func() []byte {
		data, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
}

func do(t *testing.T, c *Cache, q nbd.Request) []byte {
	t.Helper()
	if err := c.Handle(t.Context(), &q); err != nil {
		t.Fatal(err)
	}
	return q.Data
}

func write(at int64, b byte, n int) nbd.Request {
	return nbd.Request{Op: nbd.Write, Offset: at, Length: int64(n), Data: bytes.Repeat([]byte{b}, n)}
}

func TestCacheHoldsWritesUntilAFlush(t *testing.T) {
	c, stored := disk(t, 1<<20)
	do(t, c, write(0, 1, 1024))
	do(t, c, write(512, 2, 1024))
	do(t, c, nbd.Request{Op: nbd.Zero, Offset: 0, Length: 256})
	want := append(append(make([]byte, 256), bytes.Repeat([]byte{1}, 256)...), bytes.Repeat([]byte{2}, 1024)...)
	if got := do(t, c, nbd.Request{Op: nbd.Read, Length: 1536, Data: make([]byte, 1536)}); !bytes.Equal(got, want) {
		t.Error("a read does not see what is cached")
	}
	if !bytes.Equal(stored(), make([]byte, size)) {
		t.Error("a write has reached the disk before a flush")
	}
	do(t, c, nbd.Request{Op: nbd.Flush})
	if !bytes.Equal(stored()[:1536], want) {
		t.Error("a flush has not written what was cached")
	}
}

func TestCacheEvictsTheOldest(t *testing.T) {
	c, stored := disk(t, 1024)
	for i := range byte(4) {
		do(t, c, write(int64(i)*512, i+1, 512))
	}
	if got := stored(); got[0] != 1 || got[512] != 2 || got[1024] != 0 || got[1536] != 0 {
		t.Errorf("on disk are %d %d %d %d", got[0], got[512], got[1024], got[1536])
	}
}

func TestFUAReachesTheDiskInOrder(t *testing.T) {
	c, stored := disk(t, 1<<20)
	do(t, c, write(0, 1, 1024))
	q := write(0, 2, 512)
	q.FUA = true
	do(t, c, q)
	if got := stored(); got[0] != 2 || got[512] != 1 {
		t.Errorf("on disk are %d %d", got[0], got[512])
	}
	do(t, c, nbd.Request{Op: nbd.Flush})
	if stored()[0] != 2 {
		t.Error("an older write came later")
	}
}

func TestCutLosesWhatIsCached(t *testing.T) {
	for _, tt := range []struct {
		probability    float64
		least, most    int
		wantKeptOnDisk bool
	}{{0, 64, 64, false}, {1, 0, 0, true}, {0.5, 10, 54, true}} {
		c, stored := disk(t, 1<<20)
		for i := range int64(64) {
			do(t, c, write(i*512, 7, 512))
		}
		lost, err := c.Cut(t.Context(), rand.New(rand.NewPCG(1, 1)), tt.probability)
		if err != nil || lost < tt.least || lost > tt.most {
			t.Errorf("probability %g: %d lost, %v", tt.probability, lost, err)
		}
		if kept := bytes.Count(stored(), []byte{7}) / 512; kept != 64-lost {
			t.Errorf("probability %g: %d lost and %d on disk", tt.probability, lost, kept)
		}
		q := write(0, 1, 512)
		if err := c.Handle(t.Context(), &q); !errors.Is(err, ErrOff) || !errors.Is(err, nbd.ErrDisconnect) {
			t.Errorf("a disk without power says %v", err)
		}
	}
}
