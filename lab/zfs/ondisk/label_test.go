package ondisk_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// TestLabels compares with zdb -lu: the ring of uberblocks in every label, the pool's name and txg.
func TestLabels(t *testing.T) {
	dir := poolDir(t, "single")
	d := images(t, dir)[0]
	all, err := ondisk.ReadLabels(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, l := range all {
		if l.Err != nil || l.BadSlots != 0 {
			t.Fatalf("label %d: %v, %d bad slots", l.Index, l.Err, l.BadSlots)
		}
		for _, s := range l.Ring {
			got = append(got, fmt.Sprintf("%d slot %d txg %d time %d", l.Index, s.Index, s.Uberblock.TXG, s.Uberblock.Timestamp))
		}
		if name, _ := l.Config.String("name"); name != "single" {
			t.Errorf("pool %q", name)
		}
	}
	var slot, txg, stamp string
	for _, l := range lines(t, filepath.Join(dir, "zdb.label")) {
		l = strings.TrimSpace(l)
		if v, ok := strings.CutPrefix(l, "Uberblock["); ok {
			slot = strings.TrimSuffix(v, "]")
		} else if v, ok := strings.CutPrefix(l, "txg = "); ok {
			txg = v
		} else if v, ok := strings.CutPrefix(l, "timestamp = "); ok {
			stamp, _, _ = strings.Cut(v, " ")
		} else if v, ok := strings.CutPrefix(l, "labels = "); ok && slot != "" {
			for n := range strings.FieldsSeq(v) {
				want = append(want, fmt.Sprintf("%s slot %s txg %s time %s", n, slot, txg, stamp))
			}
			slot = ""
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if len(got) == 0 || !slices.Equal(got, want) {
		t.Error(firstDifference(got, want))
	}
}

// blank is a device of which a range is zeroes.
type blank struct {
	io.ReaderAt
	from, to int64
}

func (b blank) ReadAt(p []byte, at int64) (int, error) {
	n, err := b.ReaderAt.ReadAt(p, at)
	for i := range p[:n] {
		if x := at + int64(i); x >= b.from && x < b.to {
			p[i] = 0
		}
	}
	return n, err
}

// One label is enough, whichever it is, and a device without any is no member.
func TestOneLabelIsEnough(t *testing.T) {
	dir := poolDir(t, "single")
	d := images(t, dir)[0]
	const size = 256 << 10
	for keep := -1; keep < 4; keep++ {
		e := d
		for i := range 4 {
			if i != keep {
				at := int64(ondisk.LabelOffset(uint64(d.Size), i))
				e.Data = blank{e.Data, at, at + size}
			}
		}
		p, err := ondisk.Open(t.Context(), []ondisk.Device{e}, ondisk.Options{})
		switch {
		case keep < 0:
			if !errors.Is(err, ondisk.ErrNotFound) {
				t.Errorf("without labels: %v", err)
			}
		case err != nil:
			t.Errorf("with label %d: %v", keep, err)
		case len(p.Missing) != 0 || p.Name != "single":
			t.Errorf("with label %d: pool %q, missing %v", keep, p.Name, p.Missing)
		}
	}
	// The ring without the configuration: the size of its slots is found out.
	at := int64(ondisk.LabelOffset(uint64(d.Size), 0))
	d.Data = blank{d.Data, at, at + 128<<10}
	all, err := ondisk.ReadLabels(t.Context(), d)
	if err != nil || all[0].Err == nil || len(all[0].Ring) != len(all[1].Ring) {
		t.Errorf("%v, label 0: %v, %d uberblocks of %d", err, all[0].Err, len(all[0].Ring), len(all[1].Ring))
	}
}

// A whole disk that was given to a pool has a partition table; the vdev is in a partition.
func TestWholeDisk(t *testing.T) {
	dir := poolDir(t, "whole")
	p := openPool(t, dir, "whole")
	if len(p.Missing) != 0 || len(p.Unused) != 0 {
		t.Errorf("missing %v, unused %v", p.Missing, p.Unused)
	}
	compareFiles(t, p, dir, nil)
	compareSpace(t, p)
	parts, err := ondisk.Partitions(t.Context(), images(t, dir)[0])
	if err != nil || len(parts) != 2 {
		t.Errorf("%v, %v", parts, err)
	}
	if parts, err := ondisk.Partitions(t.Context(), images(t, poolDir(t, "single"))[0]); parts != nil || err != nil {
		t.Errorf("a vdev has partitions: %v, %v", parts, err)
	}
}

func TestNoDevice(t *testing.T) {
	for _, n := range []int64{0, 512, 1<<20 - 1} {
		_, err := ondisk.ReadLabels(t.Context(), ondisk.Device{Name: "short", Data: bytes.NewReader(make([]byte, n)), Size: n})
		if err == nil {
			t.Errorf("a device of %d bytes has labels", n)
		}
	}
}
