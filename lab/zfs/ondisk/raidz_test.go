package ondisk

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// memory is a device in memory, in sectors of 512 bytes; what was never written is noise.
type memory map[int64][512]byte

func (m memory) ReadAt(p []byte, at int64) (int, error) {
	for i := 0; i < len(p); i += 512 {
		if s, ok := m[at+int64(i)]; ok {
			copy(p[i:], s[:])
			continue
		}
		copy(p[i:], bytes.Repeat([]byte{byte(at>>9) + byte(i>>9) + 1}, 512))
	}
	return len(p), nil
}

func (m memory) WriteAt(p []byte, at int64) (int, error) {
	for i := 0; i < len(p); i += 512 {
		m[at+int64(i)] = [512]byte(p[i:])
	}
	return len(p), nil
}

// striped makes a raidz, or a dRAID, with members in memory.
func striped(t *testing.T, kind string, members, parity int, make func(*VDev) error) *VDev {
	t.Helper()
	v := &VDev{Type: kind, Parity: parity, AShift: 9, pool: &Pool{}}
	for i := range members {
		d := &Device{Name: fmt.Sprint(i), Data: memory{}, Size: 1 << 40}
		v.Children = append(v.Children, &VDev{Type: "file", ID: uint64(i), AShift: 9, Device: d})
	}
	if make != nil {
		if err := make(v); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

func draidOf(data, spares, groups uint64) func(*VDev) error {
	return func(v *VDev) (err error) {
		v.draid = &draid{data: data, spares: spares, groups: groups, members: uint64(len(v.Children)), group: data + uint64(v.Parity)}
		v.draid.orders, err = draidOrders(len(v.Children))
		return err
	}
}

func expanded(running bool, txgs ...uint64) func(*VDev) error {
	return func(v *VDev) error {
		v.expansion = expansion{running: running, txgs: txgs}
		v.pool.Uberblock.RAIDZReflow = 4<<55 | 40 // RRSS_SCRATCH_INVALID_SYNCED_REFLOW, so many sectors
		return nil
	}
}

// stripes are all shapes of rows.
func stripes(t *testing.T) map[string]*VDev {
	all := map[string]*VDev{
		"draid1:2d:5c:1s":  striped(t, vdevDRAID, 5, 1, draidOf(2, 1, 4)),
		"draid2:3d:8c:2s":  striped(t, vdevDRAID, 8, 2, draidOf(3, 2, 6)),
		"draid3:1d:4c:0s":  striped(t, vdevDRAID, 4, 3, draidOf(1, 0, 1)),
		"draid2:4d:13c:1s": striped(t, vdevDRAID, 13, 2, draidOf(4, 1, 2)),
	}
	for parity := 1; parity <= 3; parity++ {
		for n := parity + 1; n <= 6; n++ {
			all[fmt.Sprintf("raidz%d of %d", parity, n)] = striped(t, vdevRAIDZ, n, parity, nil)
			if n > parity+1 {
				all[fmt.Sprintf("raidz%d of %d, expanded", parity, n)] = striped(t, vdevRAIDZ, n, parity, expanded(false, 20))
				all[fmt.Sprintf("raidz%d of %d, being expanded", parity, n)] = striped(t, vdevRAIDZ, n, parity, expanded(true))
			}
			if n > parity+2 {
				all[fmt.Sprintf("raidz%d of %d, expanded twice", parity, n)] = striped(t, vdevRAIDZ, n, parity, expanded(false, 5, 20))
				all[fmt.Sprintf("raidz%d of %d, being expanded again", parity, n)] = striped(t, vdevRAIDZ, n, parity, expanded(true, 5))
			}
		}
	}
	return all
}

// read gives the first attempt that is what it should be, and how many were made.
func (v *VDev) firstRight(t *testing.T, offset uint64, want []byte, birth uint64) (tries int, ok bool) {
	for p, err := range v.attempts(t.Context(), offset, uint64(len(want)), birth, 0) {
		tries++
		if err == nil && bytes.Equal(p, want) {
			return tries, true
		}
	}
	return tries, false
}

// What is written to a raidz or a dRAID is read at once while all is well, and without as many members as it has parity, be
// they away or full of noise, and not without more.
func TestStripes(t *testing.T) {
	for name, v := range stripes(t) {
		// At the end of a group, where parity turns, across where an expansion stands, and within columns.
		offsets := []uint64{7 << 9, 37 << 9, 1<<20 + 9<<9}
		if v.draid != nil {
			unit := v.draid.group << v.AShift
			offsets = []uint64{11 * unit, v.draid.groupSize() - unit, 3*v.draid.groupSize() - 2*unit, 400 * v.draid.groupSize()}
		}
		for _, offset := range offsets {
			for _, sectors := range []int{1, 2, 5, 14} {
				for _, birth := range []uint64{3, 10, 30} {
					if birth > 3 && !v.Expanded() {
						continue
					}
					want := make([]byte, sectors<<9-sectors%2*100)
					for i := range want {
						want[i] = byte(rand.Uint32())
					}
					if err := v.write(t.Context(), offset, want, birth, 0); err != nil {
						t.Fatal(err)
					}
					if n, ok := v.firstRight(t, offset, want, birth); !ok || n != 1 {
						t.Fatalf("%s, %d sectors at %#x of txg %d: right %v after %d attempts", name, sectors, offset, birth, ok, n)
					}
					if damage := v.compare(t.Context(), offset, want, birth, 0); len(damage) > 0 {
						t.Fatalf("%s, %d sectors at %#x of txg %d: %v", name, sectors, offset, birth, damage)
					}
					loseMembers(t, v, fmt.Sprintf("%s, %d sectors at %#x of txg %d", name, sectors, offset, birth), offset, want, birth)
				}
			}
		}
	}
}

// loseMembers takes as many members away as there is parity, and then all.
func loseMembers(t *testing.T, v *VDev, what string, offset uint64, want []byte, birth uint64) {
	t.Helper()
	for _, noise := range []bool{false, true} {
		lost := rand.Perm(len(v.Children))
		kept := make([]*Device, len(lost))
		lose := func(i int) {
			kept[i] = v.Children[i].Device
			v.Children[i].Device = nil
			if noise {
				v.Children[i].Device = &Device{Name: "noise", Data: memory{}, Size: 1 << 40}
			}
		}
		for _, i := range lost[:v.Parity] {
			lose(i)
		}
		if n, ok := v.firstRight(t, offset, want, birth); !ok {
			t.Fatalf("%s, without %v (noise: %v): wrong after %d attempts", what, lost[:v.Parity], noise, n)
		}
		for _, i := range lost[v.Parity:] {
			lose(i)
		}
		if !noise {
			if _, ok := v.firstRight(t, offset, want, birth); ok {
				t.Fatalf("%s, without any member: right", what)
			}
		}
		for i, d := range kept {
			v.Children[i].Device = d
		}
	}
}

// The permutations of all dRAIDs have the sums that OpenZFS knows.
func TestDRAIDOrders(t *testing.T) {
	for n := 2; n <= maxDRAID; n++ {
		if _, err := draidOrders(n); err != nil {
			t.Error(err)
		}
	}
}

// A member that failed before a raidz was expanded has its wrong content on all members since.
func TestFailedBeforeExpansion(t *testing.T) {
	before := striped(t, vdevRAIDZ, 5, 2, nil)
	const size = 100 << 9
	want := make([]byte, size)
	for i := range want {
		want[i] = byte(rand.Uint32())
	}
	if err := before.write(t.Context(), 0, want, 3, 0); err != nil {
		t.Fatal(err)
	}
	before.Children[1].Device.Data, before.Children[3].Device.Data = memory{}, memory{}
	after := striped(t, vdevRAIDZ, 6, 2, expanded(false, 20))
	sector := make([]byte, 512)
	for i := range uint64(300) { // as raidz_reflow_impl copies
		if _, err := before.Children[i%5].Device.Data.ReadAt(sector, int64(dataStart+i/5<<9)); err != nil {
			t.Fatal(err)
		}
		if err := after.Children[i%6].Device.write(t.Context(), sector, dataStart+i/6<<9); err != nil {
			t.Fatal(err)
		}
	}
	if n, ok := after.firstRight(t, 0, want, 3); !ok || n < 2 {
		t.Errorf("right: %v, after %d attempts", ok, n)
	}
}

// While the first part of a raidz is moved, what is before the end of the scratch area is read from there.
func TestScratchArea(t *testing.T) {
	v := striped(t, vdevRAIDZ, 4, 1, expanded(true))
	v.pool.Uberblock.RAIDZReflow = scratchValid<<55 | 4*bootSize>>sectorShift
	want := bytes.Repeat([]byte("scratch!"), 64*9)
	if err := v.write(t.Context(), 5<<9, want, 3, 0); err != nil {
		t.Fatal(err)
	}
	places, err := v.places(5<<9, uint64(len(want)), 3, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range places {
		if p.Offset < dataStart-bootSize || p.Offset >= dataStart {
			t.Errorf("%+v is not in the scratch area", p)
		}
	}
	if n, ok := v.firstRight(t, 5<<9, want, 3); !ok || n != 1 {
		t.Errorf("right: %v, after %d attempts", ok, n)
	}
	beyond := uint64(4 * bootSize)
	if places, err = v.places(beyond, 512, 3, nil, 0); err != nil {
		t.Fatal(err)
	}
	for _, p := range places {
		if p.VDev == v.Children[3] || p.Offset < dataStart+beyond>>9/3<<9 {
			t.Errorf("%+v is not where it was", p)
		}
	}
}

// A distributed spare has what it stands in for on one member or another, and where that has a spare, on both.
func TestDistributedSpare(t *testing.T) {
	v := striped(t, vdevDRAID, 8, 2, draidOf(3, 2, 6))
	v.GUID, v.pool.VDevs = 7, []*VDev{v}
	for i, lost := range []int{2, 5} {
		spare := &VDev{Type: vdevSpare, topGUID: 7, spareID: uint64(i), AShift: 9, pool: v.pool}
		v.Children[lost] = &VDev{Type: "spare", AShift: 9, pool: v.pool, Children: []*VDev{v.Children[lost], spare}}
	}
	v.pool.linkSpares()
	for i := range uint64(200) {
		offset := i * 3 * v.draid.groupSize()
		want := bytes.Repeat([]byte{byte(i + 1)}, 7*512)
		if err := v.write(t.Context(), offset, want, 3, 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, lost := range []int{2, 5} { // two more can be lost with the spares in use
		v.Children[lost].Children[0].Device.Data = memory{}
	}
	v.Children[0].Device, v.Children[7].Device = nil, nil
	for i := range uint64(200) {
		offset := i * 3 * v.draid.groupSize()
		if n, ok := v.firstRight(t, offset, bytes.Repeat([]byte{byte(i + 1)}, 7*512), 3); !ok {
			t.Errorf("block %d: wrong after %d attempts", i, n)
		}
	}
}
