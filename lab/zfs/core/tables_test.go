package core_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/core"
)

// TestTables looks at what is to be freed, at deduplicated and at cloned blocks.
func TestTables(t *testing.T) {
	eachVersion(t, func(s *subject) {
		s.pool(map[string]string{"compression": "off", "atime": "off", "recordsize": "4k"})
		s.run("zfs create tank/fs; cd /tank/fs; head -c 200000 /dev/urandom > freed; head -c 40960 /dev/urandom > kept; zpool sync tank")
		s.run("zfs snapshot tank/fs@a; rm /tank/fs/freed; zfs create -o dedup=on tank/dd; dd bs=4k if=/tank/fs/kept of=/tank/dd/1; zpool sync tank")
		s.run("echo 3600 > /sys/module/zfs/parameters/zfs_txg_timeout; zpool sync tank")
		const blocks = 10 // of the file kept
		cloned := s.run("test -e /sys/module/zfs/parameters/zfs_bclone_enabled && echo 1 > /sys/module/zfs/parameters/zfs_bclone_enabled && cp --reflink=always /tank/fs/kept /tank/fs/clone && echo yes; true") == "yes"

		s.look(func(z *core.ZFS) {
			s.checkDeadlist(z)
			objects, err := z.Class("brt")
			if err != nil {
				s.Fatal(err)
			}
			entries := 0
			for _, o := range objects {
				if o.Kind == core.KindBRTEntry {
					entries++
				}
			}
			if want := map[bool]int{true: blocks}[cloned]; entries != want {
				s.Errorf("%d blocks wait to be cloned instead of %d", entries, want)
			}
			if cloned && s.uint(z, "spa.brt[0].pending[*].bre_bp.blk_dva[0].dva_word[0]") == 0 {
				s.Error("a cloned block has no address")
			}
		})
		// cp and cat would clone blocks instead of writing them.
		s.stopAt("ddt_sync", "dd bs=4k if=/tank/fs/kept of=/tank/dd/2; zpool sync tank", func(at stopped) bool {
			return !s.checkDedup(at.scope.ZFS, blocks)
		})
	})
}

// checkDeadlist adds up the block pointers of a deadlist.
func (s *subject) checkDeadlist(z *core.ZFS) {
	scope := core.Scope{ZFS: z}
	checked := 0
	for i := 0; ; i++ {
		bpobj := fmt.Sprintf(`spa.dataset("tank/fs").ds_deadlist.entry[%d].dle_bpobj`, i)
		if _, err := scope.Resolve(bpobj); err != nil {
			break
		}
		count, want := s.uint(z, "%s.bpo_phys.bpo_num_blkptrs", bpobj), s.uint(z, "%s.bpo_phys.bpo_bytes", bpobj)
		if count == 0 {
			continue
		}
		checked++
		var sum, n uint64
		for block := 0; n < count; block++ {
			for ; ; n++ {
				v, err := scope.Resolve(fmt.Sprintf("%s.block[%d].entry[%d]", bpobj, block, n-uint64(block)*s.uint(z, "%s.bpo_epb", bpobj)))
				if err != nil {
					break
				}
				if v.Type().Name() != "blkptr_t" {
					s.Fatalf("%s is a %s", v.Path(), v.Type())
				}
				sum += s.uint(z, "%s.blk_dva[0].dva_word[0]", v.Path()) & (1<<24 - 1) << 9
			}
			if block > int(count) {
				s.Fatalf("%s has %d block pointers, only %d were found", bpobj, count, n)
			}
		}
		// The pool of one disk keeps one copy of data and two or three of metadata, of which only the first is added up.
		if n != count || sum > want || 2*sum < want {
			s.Errorf("%s has %d block pointers of %d bytes, it says %d of %d", bpobj, n, sum, count, want)
		}
	}
	if checked == 0 {
		s.Error("no deadlist has any block")
	}
}

// checkDedup finds the entries of blocks that are being written the second time, once there are some.
func (s *subject) checkDedup(z *core.ZFS, blocks int) bool {
	objects, err := z.Class("ddt")
	if err != nil {
		s.Fatal(err)
	}
	entries, buffers := 0, 0
	for _, o := range objects {
		if o.Kind == core.KindData {
			buffers++
			continue
		}
		if strings.Contains(o.Path, ".ddt_log[") {
			if refs := s.uint(z, "%s.ddle_phys[0].ddp_flat.ddp_refcnt", o.Path); refs != 1 {
				s.Errorf("%s has %d references", o.Path, refs)
			}
			continue
		}
		entries++
		phys := s.at(z, "%s.dde_phys", o.Path)
		refs := phys.Index(0).Field("ddp_flat").Field("ddp_refcnt")
		if _, flat := o.Value().Type().Field("dde_lead_zio"); flat { // before fast deduplication, by number of copies
			refs = phys.Index(1).Field("ddp_refcnt")
		}
		if n, err := refs.Uint(); err != nil || n != 2 {
			s.Errorf("%s has %d references, %v", o.Path, n, err)
		}
		if last := phys.Addr() - o.Addr; o.Size <= last {
			s.Errorf("%s has %d bytes, its phys begins at %d", o.Path, o.Size, last)
		}
	}
	// With a log, the ZAP need not have been touched.
	_, err = s.k.Types().Named("ddt_log_t")
	if entries > 0 && (entries != blocks || buffers == 0 && err != nil) {
		s.Errorf("%d entries and %d buffers of deduplication tables for %d blocks", entries, buffers, blocks)
	}
	return entries > 0
}
