package core_test

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/zfs/core"
)

// TestSpace compares devices, metaslabs and range trees with what the guest says of its pool.
func TestSpace(t *testing.T) {
	eachVersion(t, func(s *subject) {
		s.run("echo 1 > /sys/module/zfs/parameters/metaslab_debug_load")
		s.pool(map[string]string{"compression": "off", "recordsize": "512"})
		// Every other of 4800 blocks is written anew, which leaves as many small segments.
		s.run("head -c 2457600 /dev/urandom > /tank/file; zpool sync tank")
		s.run(`perl -e 'open F, "+<", "/tank/file"; for (0..2399) { seek F, 1024 * $_, 0; print F "x" x 512 } close F'; zpool sync tank`)
		s.run("zpool export tank && zpool import tank && zpool sync tank && zpool sync tank && zpool sync tank")
		s.run("echo 3600 > /sys/module/zfs/parameters/zfs_txg_timeout; touch /tank/last; zpool sync tank")

		// zdb reads through the page cache, which knows nothing of what ZFS has written since.
		const list = `zpool list -Hpo size,allocated tank
			awk '$3 == "C" {synced = $1}  $3 == "O" {print synced, $1}' /proc/spl/kstat/zfs/tank/txgs
			echo 1 > /proc/sys/vm/drop_caches; zdb -u tank | awk '$1 == "txg" {print $3}'`
		before := s.run(list)
		var got [5]uint64
		s.look(func(z *core.ZFS) {
			count := s.uint(z, "spa.vdev[0].vdev_ms_count")
			shift := s.uint(z, "spa.vdev[0].vdev_ms_shift")
			got[0], got[1] = count<<shift, s.allocated(z, int(count))
			spa := s.at(z, "spa")
			now, err := z.TXG(spa)
			if err != nil || now.Synced != now.Syncing || now.Open <= now.Synced {
				s.Errorf("txg %+v, %v", now, err)
			}
			// What was changed last is on disk; txgs that changed nothing may have followed.
			root := s.at(z, "spa.spa_uberblock.ub_rootbp")
			birth := root.Field("blk_birth")
			if words := root.Field("blk_birth_word"); words.Err() == nil {
				birth = words.Index(1)
			}
			changed, err := birth.Uint()
			if err != nil {
				s.Error(err)
			}
			got[2], got[3], got[4] = now.Synced, now.Open, changed
			if _, err := (core.Scope{ZFS: z}).Resolve("spa.vdev[last].ms[last].ms_size"); err != nil {
				s.Error(err)
			}
			for i := range int(count) {
				s.checkTrees(z, s.at(z, "spa.vdev[0].ms[%d]", i))
			}
			s.checkSpaceMaps(z, int(count))
			// So many segments need a B-tree of more than one node.
			core := s.at(z, "spa.vdev[0].ms[*].ms_allocatable.rt_root.core[*].seg[0].rs_start")
			if !strings.Contains(core.Path(), ".rt_root.core[0].seg[0]") {
				s.Errorf("a segment in a core node is called %s", core.Path())
			}
		})
		if after := s.run(list); after != before {
			s.Fatalf("the pool was not quiet: first\n%s\nthen\n%s", before, after)
		}
		var want [5]uint64
		var err error
		for i, word := range strings.Fields(before) {
			if want[i], err = strconv.ParseUint(word, 10, 64); err != nil {
				s.Fatal(err)
			}
		}
		if got != want {
			s.Errorf("size, allocated, txg synced, open and in the root block are %d, the guest says %d", got, want)
		}
		// zdb prints "metaslabs   15   offset ..." for a vdev, and "metaslab_shift: 25" in its configuration.
		if n := s.number("zdb -m tank | awk '$1 == \"metaslabs\" {print $2; exit}'"); got[0]>>s.number("zdb -C tank | awk '$1 == \"metaslab_shift:\" {print $2}'") != n {
			s.Errorf("%d bytes are not the %d metaslabs that zdb counts", got[0], n)
		}
	})
}

// allocated is what is in no tree of free space.
func (s *subject) allocated(z *core.ZFS, metaslabs int) uint64 {
	var sum uint64
	for i := range metaslabs {
		sum += s.uint(z, "spa.vdev[0].ms[%d].ms_size", i) - s.uint(z, "spa.vdev[0].ms[%d].ms_allocatable.rt_space", i)
		for _, tree := range []string{"ms_defer[0]", "ms_defer[1]"} {
			sum -= s.uint(z, "spa.vdev[0].ms[%d].%s.rt_space", i, tree)
		}
	}
	return sum
}

// checkTrees compares the segments of a metaslab's trees with what the trees and their twins say.
func (s *subject) checkTrees(z *core.ZFS, ms kernel.Value) {
	trees, err := z.RangeTrees(ms)
	if err != nil {
		s.Fatal(err)
	}
	if len(trees) < 10 {
		s.Errorf("%s has only %d range trees", ms.Path(), len(trees))
	}
	for _, rt := range trees {
		segs, err := z.Segments(rt)
		if err != nil {
			s.Fatal(err)
		}
		start := s.uint(z, "%s.ms_start", ms.Path())
		size := s.uint(z, "%s.ms_size", ms.Path())
		sum, end := uint64(0), start
		for _, seg := range segs {
			if seg.Start < end || seg.Start >= seg.End || seg.End > start+size {
				s.Fatalf("%s: %#x-%#x comes after %#x in a metaslab that begins at %#x", seg.Path(), seg.Start, seg.End, end, start)
			}
			sum, end = sum+seg.Fill, seg.End
		}
		if space := s.uint(z, "%s.rt_space", rt.Path()); sum != space {
			s.Errorf("the segments of %s have %d bytes, it says %d", rt.Path(), sum, space)
		}
	}
	s.checkTwin(z, s.at(z, "%s.ms_allocatable", ms.Path()))
}

func (s *subject) checkTwin(z *core.ZFS, rt kernel.Value) {
	segs, err := z.Segments(rt)
	if err != nil {
		s.Fatal(err)
	}
	twins, err := z.SegmentsBySize(rt)
	if err != nil {
		s.Fatal(err)
	}
	smallest := uint64(1) << s.uint(z, "metaslab_rt_arg_t@%#x.mra_floor_shift", s.uint(z, "%s.rt_arg", rt.Path()))
	segs = slices.DeleteFunc(segs, func(seg core.Segment) bool { return seg.End-seg.Start < smallest })
	slices.SortStableFunc(segs, func(a, b core.Segment) int { return cmp.Compare(a.End-a.Start, b.End-b.Start) })
	if len(segs) == 0 || len(segs) != len(twins) {
		s.Fatalf("%s has %d segments that are not short, its twin %d", rt.Path(), len(segs), len(twins))
	}
	for i, seg := range segs {
		twin := s.at(z, "%s.twin", seg.Path())
		if twins[i].Start != seg.Start || twins[i].End != seg.End || twins[i].Addr() == seg.Addr() || twin.Addr() != twins[i].Addr() {
			s.Errorf("%s is %#x-%#x, in the twin comes %#x-%#x; its own twin is %s", seg.Path(), seg.Start, seg.End, twins[i].Start, twins[i].End, twin.Path())
		}
	}
}

// checkSpaceMaps adds up the entries of those space maps that are in memory as a whole.
func (s *subject) checkSpaceMaps(z *core.ZFS, metaslabs int) {
	sum, bytes := map[uint64]uint64{}, map[uint64]uint64{} // by object; sums in units of the space map
	for _, kind := range []string{"1", "2", "debug"} {
		entries, err := z.Class("struct:space_map_entry_" + kind)
		if err != nil || len(entries) == 0 {
			s.Errorf("%d entries of kind %s, %v", len(entries), kind, err)
		}
		for _, e := range entries {
			bytes[e.Object] += e.Size
			if kind == "debug" {
				continue
			}
			run, err := e.Value().Field("run").Uint()
			if err != nil {
				s.Fatal(err)
			}
			free, err := e.Value().Field("type").Uint()
			if err != nil {
				s.Fatal(err)
			}
			if sum[e.Object] += run + 1; free != 0 {
				sum[e.Object] -= 2 * (run + 1)
			}
		}
	}
	checked := 0
	for i := range metaslabs {
		if s.uint(z, "&spa.vdev[0].ms[%d].ms_sm", i) == 0 {
			continue
		}
		sm := s.at(z, "spa.vdev[0].ms[%d].ms_sm", i).Path()
		object, length := s.uint(z, "%s.sm_object", sm), s.uint(z, "%s.sm_phys.smp_length", sm)
		if bytes[object] != length || length == 0 {
			continue
		}
		checked++
		if alloc := s.uint(z, "%s.sm_phys.smp_alloc", sm); sum[object]<<s.uint(z, "%s.sm_shift", sm) != alloc {
			s.Errorf("%s: %d bytes of entries allocate %d units, its header says %d bytes", sm, length, sum[object], alloc)
		}
	}
	if checked == 0 {
		s.Error("no space map was checked")
	}
}
