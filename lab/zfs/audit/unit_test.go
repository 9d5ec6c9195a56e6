package audit

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

func TestBitmap(t *testing.T) {
	const size = 1000
	random := rand.New(rand.NewPCG(1, 2))
	b, plain := newBitmap(size), make([]bool, size)
	for range 300 {
		from := random.Uint64N(size + 1)
		to := from + random.Uint64N(size+1-from)
		on := random.IntN(2) == 0
		b.fill(from, to, on)
		for i := from; i < to; i++ {
			plain[i] = on
		}
		got := make([]bool, size)
		b.each(0, size, true, func(from, to uint64) {
			if from >= to || from > 0 && plain[from-1] || to < size && plain[to] {
				t.Fatalf("%d to %d is no range of its own", from, to)
			}
			for i := from; i < to; i++ {
				got[i] = true
			}
		})
		if !slices.Equal(got, plain) {
			t.Fatal("the ranges are not what was filled")
		}
		count := uint64(0)
		for _, on := range plain {
			if on {
				count++
			}
		}
		if b.count() != count {
			t.Fatalf("%d bits, not %d", b.count(), count)
		}
		from = random.Uint64N(size + 1)
		to = from + random.Uint64N(size+1-from)
		want := from
		for want < to && plain[want] {
			want++
		}
		if got := b.next(from, to, false); got != want {
			t.Fatalf("next of %d to %d that is off is %d, not %d", from, to, got, want)
		}
	}
}

// There is an end to what is sorted, and a directory that is not there is an error.
func TestRunsEnd(t *testing.T) {
	dir := t.TempDir()
	fill := func(r *runs) (n int, err error) {
		defer r.close()
		for ; err == nil && n < 1<<20; n++ {
			err = r.add(claim{offset: uint64(n)})
		}
		return n, err
	}
	r := newRuns(1, dir)
	r.most = 4 << 20
	if n, err := fill(r); !errors.Is(err, ondisk.ErrExcess) || n > 5<<20/claimSize {
		t.Errorf("%v after %d claims", err, n)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v in the directory, %v", left, err)
	}
	if _, err := fill(newRuns(1, filepath.Join(dir, "none"))); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "sorting on disk") {
		t.Errorf("%v", err)
	}
}

// Claims come back in order and whole, from memory and from files.
func TestRuns(t *testing.T) {
	const workers = 4
	for _, tt := range []struct {
		limit int64
		each  int
		files bool
	}{
		{1 << 40, 6_000, false}, {1, 6_000, true}, {1 << 40, 25_000, true}, // 0.8 and 3 MB
	} {
		dir, each := t.TempDir(), tt.each
		r := newRuns(tt.limit, dir)
		want := make([]claim, workers*each)
		random := rand.New(rand.NewPCG(3, 4))
		for i := range want {
			want[i] = claim{
				offset: random.Uint64(), extra: random.Uint64(), size: random.Uint32(), print: random.Uint32(), of: random.Uint32(),
				vdev: uint16(random.Uint32N(3)), kind: claimKind(random.Uint32N(6)), flags: claimFlags(random.Uint32N(4)),
			}
			if i%3 == 0 && i > 0 { // some at one place
				want[i].vdev, want[i].offset = want[i-1].vdev, want[i-1].offset
			}
		}
		var all sync.WaitGroup
		for w := range workers {
			all.Go(func() {
				for _, c := range want[w*each : (w+1)*each] {
					if err := r.add(c); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		var got []claim
		for c, err := range r.all(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if n := len(got); n > 0 && got[n-1].compare(c) > 0 {
				t.Fatalf("%+v comes before %+v", got[n-1], *c)
			}
			got = append(got, *c)
		}
		if (len(r.files) > 0) != tt.files {
			t.Errorf("%d files of %d claims with %d bytes in memory", len(r.files), workers*each, tt.limit)
		}
		whole := func(a, b claim) int {
			x, y := make([]byte, claimSize), make([]byte, claimSize)
			a.encode(x)
			b.encode(y)
			return slices.Compare(x, y)
		}
		slices.SortFunc(got, whole)
		slices.SortFunc(want, whole)
		if !slices.Equal(got, want) {
			t.Errorf("what came out is not what went in")
		}
		if err := r.close(); err != nil {
			t.Error(err)
		}
	}
}
