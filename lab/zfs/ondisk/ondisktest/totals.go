package ondisktest

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// Totals are what zdb -b counts.
type Totals struct{ Count, Logical, Physical, Allocated, Ganged, Embedded uint64 }

// ZDBTotals are those of a report of zdb -bbb; clean is whether it found that space maps and blocks agree.
func ZDBTotals(t testing.TB, report string) (out Totals, clean bool) {
	t.Helper()
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range strings.Split(string(text), "\n") {
		f := strings.Fields(l)
		switch {
		case strings.Contains(l, "No leaks (block sum matches space maps exactly)"):
			clean = true
		case strings.HasPrefix(l, "\tbp count:"):
			out.Count = number(t, f[2])
		case strings.HasPrefix(l, "\tganged count:"):
			out.Ganged = number(t, f[2])
		case strings.HasPrefix(l, "\tbp logical:"):
			out.Logical = number(t, f[2])
		case strings.HasPrefix(l, "\tbp physical:"):
			out.Physical = number(t, f[2])
		case strings.HasPrefix(l, "\tbp allocated:"):
			out.Allocated = number(t, f[2])
		case strings.HasPrefix(l, "\tadditional, non-pointer bps of type 0:"):
			out.Embedded = number(t, f[6])
		}
	}
	return out, clean
}

func number(t testing.TB, s string) uint64 {
	t.Helper()
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Add counts a block pointer.
func (x *Totals) Add(b ondisk.BlkPtr) {
	x.Count++
	x.Logical += b.LSize()
	if b.Embedded() {
		x.Embedded++
		return
	}
	x.Physical += b.PSize()
	x.Allocated += b.ASize()
	for _, d := range b.DVAs() {
		if d.Gang() {
			x.Ganged++
		}
	}
}
