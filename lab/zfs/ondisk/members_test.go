package ondisk_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/labeltest"
)

// rotten is a device on which everything between the labels is noise.
type rotten struct {
	io.ReaderAt
	size int64
	seed uint64
}

func (r rotten) ReadAt(p []byte, at int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(p, at)
	const head, tail = 4 << 20, 512 << 10
	noise := rand.New(rand.NewPCG(r.seed, uint64(at)))
	for i := range p[:n] {
		if x := at + int64(i); x >= head && x < r.size-tail {
			p[i] ^= byte(noise.Uint32()) | 1
		}
	}
	return n, err
}

func rot(d ondisk.Device, seed uint64) ondisk.Device {
	d.Data = rotten{d.Data, d.Size, seed}
	return d
}

// members are the devices of a pool with paths that begin with a prefix.
func members(t testing.TB, dir, prefix string) []ondisk.Device {
	t.Helper()
	return slices.DeleteFunc(images(t, dir), func(d ondisk.Device) bool { return !strings.HasPrefix(filepath.Base(d.Name), prefix) })
}

// readAll reads all blocks of a pool.
func readAll(t testing.TB, p *ondisk.Pool) {
	t.Helper()
	n := 0
	err := p.Visit(t.Context(), &ondisk.Visitor{Block: func(r ondisk.Ref, b ondisk.BlkPtr) error {
		if !readable(r) {
			return nil
		}
		n++
		_, err := p.Read(t.Context(), b)
		return err
	}})
	if err != nil || n == 0 {
		t.Errorf("after %d blocks: %v", n, err)
	}
}

// A raidz or dRAID works without as many members as it has parity, whether they are not there or hold noise, and not without
// more, but that distributed spares hold what is on some of those of "two".
func TestMissingMembers(t *testing.T) {
	for _, c := range []struct {
		script, prefix string
		parity         int
		spares         bool
	}{
		{"raidz1", "r", 1, false}, {"raidz2", "r", 2, false}, {"raidz3", "r", 3, false},
		{"grown", "g", 1, false}, {"grown", "h", 2, false}, {"draid", "b", 2, true},
	} {
		dir := poolDir(t, c.script)
		all := members(t, dir, c.prefix)
		for first := range all {
			lost := func(n int) (there, noisy []ondisk.Device) {
				for i, d := range all {
					if (i-first+len(all))%len(all) >= n {
						there = append(there, d)
						noisy = append(noisy, d)
					} else {
						noisy = append(noisy, rot(d, uint64(i)))
					}
				}
				return there, noisy
			}
			there, noisy := lost(c.parity)
			for how, devices := range map[string][]ondisk.Device{"missing": there, "noise": noisy} {
				p, err := ondisk.Open(t.Context(), devices, ondisk.Options{})
				if err != nil {
					t.Errorf("%s, %d members %s from %d: %v", c.script, c.parity, how, first, err)
					continue
				}
				if len(p.Missing) != len(all)-len(devices) {
					t.Errorf("%s: %d members are missing, not %d", c.script, len(p.Missing), len(all)-len(devices))
				}
				readAll(t, p)
			}
			if c.spares {
				continue
			}
			for n := c.parity + 1; n < len(all); n++ {
				few, _ := lost(n)
				var lacking *ondisk.LackingError
				if p, err := ondisk.Open(t.Context(), few, ondisk.Options{}); err != nil && !errors.As(err, &lacking) || err == nil && p.Lacking() == nil {
					t.Errorf("%s without %d members from %d: %v", c.script, n, first, err)
				}
			}
			// A small block, or a copy of one, may lie on the members that are left.
			there, noisy = lost(c.parity + 1)
			for want, devices := range map[error][]ondisk.Device{ondisk.ErrMissing: there, ondisk.ErrChecksum: noisy} {
				p, err := ondisk.Open(t.Context(), devices, ondisk.Options{})
				if err == nil {
					err = p.Visit(t.Context(), &ondisk.Visitor{Block: func(_ ondisk.Ref, b ondisk.BlkPtr) error {
						_, err := p.Read(t.Context(), b)
						return err
					}})
				}
				if !errors.Is(err, want) {
					t.Errorf("%s without %d members: %v", c.script, c.parity+1, err)
				}
			}
		}
	}
}

// Some members missing, some noise: the parity serves both.
func TestMissingAndNoisy(t *testing.T) {
	all := members(t, poolDir(t, "raidz3"), "r")
	devices := slices.Clone(all[2:])
	devices[3] = rot(devices[3], 1)
	p, err := ondisk.Open(t.Context(), devices[1:], ondisk.Options{})
	if !errors.Is(err, ondisk.ErrMissing) && !errors.Is(err, ondisk.ErrChecksum) {
		t.Errorf("three missing and one noisy member of a raidz3: %v, %v", p, err)
	}
	p, err = ondisk.Open(t.Context(), devices, ondisk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	readAll(t, p)
}

// Any one member of a mirror that is not out of date is enough, in any company.
func TestMirrorMembers(t *testing.T) {
	dir := poolDir(t, "mirror")
	strangers := members(t, poolDir(t, "raidz1"), "r")
	rest := slices.DeleteFunc(images(t, dir), func(d ondisk.Device) bool {
		return slices.Contains([]string{"m0", "m1", "m2", "s0"}, filepath.Base(d.Name))
	})
	m := members(t, dir, "m")
	for name, devices := range map[string][]ondisk.Device{
		"first": {m[0]}, "second": {m[1]}, "noise": {rot(m[0], 1), m[1], rot(m[2], 3)}, "stale first": {m[2], m[1], m[0]},
	} {
		all := slices.Concat(rest, strangers, devices)
		rand.New(rand.NewPCG(1, 2)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		p, err := ondisk.Open(t.Context(), all, ondisk.Options{Name: "glass"})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(p.Unused) != len(strangers)+1 || // x1 was never given to a pool
			len(p.Missing) != 1+3-len(devices) {
			t.Errorf("%s: %d devices are unused, %d missing", name, len(p.Unused), len(p.Missing))
		}
		readAll(t, p)
	}
	two := images(t, poolDir(t, "gang"))
	if _, err := ondisk.Open(t.Context(), two, ondisk.Options{}); err == nil || !strings.Contains(err.Error(), "gang") || !strings.Contains(err.Error(), "hang") {
		t.Errorf("two pools: %v", err)
	}
	if _, err := ondisk.Open(t.Context(), nil, ondisk.Options{}); !errors.Is(err, ondisk.ErrNotFound) {
		t.Errorf("no devices: %v", err)
	}
}

// A device whose label has the pool's GUID, and that is in no configuration of it, is told: it was copied from another pool, or
// is what a member that has been replaced was.
func TestUnknownMember(t *testing.T) {
	devices := images(t, poolDir(t, "mirror"))
	p, err := ondisk.Open(t.Context(), devices, ondisk.Options{})
	if err != nil || len(p.Notes) != 0 {
		t.Fatalf("%v, notes %q", err, p.Notes)
	}
	stray := labeltest.Member(t, labeltest.List(labeltest.Pair("name", "glas\x1bs"), labeltest.Pair("pool_guid", p.GUID), labeltest.Pair("guid", uint64(77)),
		labeltest.Pair("txg", uint64(1)), labeltest.Pair("state", uint64(1))), 1)
	devices = append(devices, labeltest.Device("stray", stray))
	if p, err = ondisk.Open(t.Context(), devices, ondisk.Options{}); err != nil {
		t.Fatal(err)
	}
	if want := `stray is not read: by its label it is member 77 of pool glas\u001bs with`; len(p.Notes) != 1 || !strings.HasPrefix(p.Notes[0], want) {
		t.Errorf("notes %q, not %s", p.Notes, want)
	}
	readAll(t, p)
}

// Copies on a stale member are told, with the place.
func TestCheckTellsWhere(t *testing.T) {
	all := members(t, poolDir(t, "raidz2"), "r")
	devices := slices.Clone(all)
	devices[1], devices[4] = rot(all[1], 1), rot(all[4], 4)
	p, err := ondisk.Open(t.Context(), devices, ondisk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	checked := map[string]int{}
	err = p.Visit(t.Context(), &ondisk.Visitor{Block: func(_ ondisk.Ref, b ondisk.BlkPtr) error {
		copies, err := p.Check(t.Context(), b)
		for i, c := range copies {
			if c.DVA != b.DVA[i] {
				t.Errorf("copy %d at %v", i, c.DVA)
			}
			for _, d := range c.Damage {
				checked[filepath.Base(d.VDev.Path)]++
				if !errors.Is(d.Err, ondisk.ErrChecksum) || d.Size == 0 {
					t.Errorf("%v", d)
				}
			}
		}
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	if len(checked) != 2 || checked["r1"] == 0 || checked["r4"] == 0 {
		t.Errorf("damage on %v, not on r1 and r4", checked)
	}
}

// The pool as it was at every uberblock that is left, as far as it has not been overwritten.
func TestOlderUberblocks(t *testing.T) {
	dir := poolDir(t, "single")
	now := openPool(t, dir, "single")
	read := 0
	for _, u := range now.Uberblocks {
		p, err := ondisk.Open(t.Context(), images(t, dir), ondisk.Options{TXG: u.TXG})
		if err != nil {
			if !errors.Is(err, ondisk.ErrChecksum) && !errors.Is(err, ondisk.ErrCorrupt) {
				t.Errorf("txg %d: %v", u.TXG, err)
			}
			continue
		}
		read++
		if p.Uberblock.TXG != u.TXG {
			t.Errorf("txg %d opened as %d", u.TXG, p.Uberblock.TXG)
		}
		if newest := u.TXG == now.Uberblock.TXG; p.Exported() != newest {
			t.Errorf("txg %d is as an export left it: %v", u.TXG, p.Exported())
		}
	}
	if len(now.Uberblocks) < 10 || read == 0 {
		t.Errorf("%d uberblocks, %d of them opened", len(now.Uberblocks), read)
	}
	if _, err := ondisk.Open(t.Context(), images(t, dir), ondisk.Options{TXG: 1}); !errors.Is(err, ondisk.ErrNotFound) {
		t.Errorf("txg 1: %v", err)
	}
}

// A member that is being replaced is two devices: what one of them lacks the other has, before parity is needed.
func TestReplacingMembers(t *testing.T) {
	all := members(t, poolDir(t, "replacing"), "")
	without := func(names ...string) []ondisk.Device {
		return slices.DeleteFunc(slices.Clone(all), func(d ondisk.Device) bool { return slices.Contains(names, filepath.Base(d.Name)) })
	}
	for _, lost := range [][]string{{}, {"r0"}, {"r0", "r3"}, {"n0", "r0", "r3"}, {"r0", "n1"}} {
		p, err := ondisk.Open(t.Context(), without(lost...), ondisk.Options{})
		if err != nil {
			t.Errorf("without %v: %v", lost, err)
			continue
		}
		if len(p.Missing) != len(lost) {
			t.Errorf("without %v: missing %v", lost, p.Missing)
		}
		readAll(t, p)
	}
}
