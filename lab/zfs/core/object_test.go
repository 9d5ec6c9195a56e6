package core_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/oracle"
	"github.com/vdevil/vdevil/lab/zfs/core"
)

// TestObjects looks at a file from its write to the disk, and sees that all that is listed can be found again.
func TestObjects(t *testing.T) {
	eachVersion(t, func(s *subject) {
		s.pool(map[string]string{"compression": "off"})
		s.run("zfs create -o recordsize=128k -o atime=off tank/fs")
		s.run("cd /tank/fs; head -c 10000000 /dev/urandom | split -b 200000; zfs snapshot tank/fs@a; rm xa?")
		// The log of space maps is flushed, so that metaslabs have entries of their own in memory, and gets new ones.
		s.run("cd /sys/module/zfs/parameters; echo 1 > zfs_unflushed_max_mem_amt; zpool sync tank; zpool sync tank; echo 1000000000 > zfs_unflushed_max_mem_amt")
		s.run("rm /tank/fs/xb?; echo 3600 > /sys/module/zfs/parameters/zfs_txg_timeout; zpool sync tank")
		content := oracle.Content(7, "file", 300_000)
		if err := s.g.WriteFile(s.Context(), "/tank/fs/file", content); err != nil {
			s.Fatal(err)
		}
		number := s.number("stat -c %%i /tank/fs/file")

		s.look(func(z *core.ZFS) {
			began := time.Now()
			objects := s.objects(z)
			s.Logf("%d objects in %s", len(objects), time.Since(began))
			for _, k := range core.Summarize(objects) {
				s.Logf("%+v", k)
			}
			s.checkFile(objects, number, content, true)
			s.checkRoundTrip(z, objects)
			s.checkClasses(z)
			s.checkName(z)
			s.checkErrors(z)
		})
		s.run("zpool sync tank; zpool sync tank")
		s.look(func(z *core.ZFS) { s.checkFile(s.objects(z), number, content, false) })

		// After a new import the file is read from disk: into single pages, and a copy of them for the dbuf.
		s.run("echo 0 > /sys/module/zfs/parameters/zfs_abd_scatter_max_order; zpool export tank && zpool import tank && cat /tank/fs/file > /dev/null")
		s.look(func(z *core.ZFS) {
			objects := s.objects(z)
			s.checkFile(objects, number, content, false)
			if found := s.inARC(objects, content); !found[0] || !found[1] {
				s.Errorf("of the file's blocks the ARC has %v beside dbufs", found)
			}
			if !slices.ContainsFunc(objects, func(o core.Object) bool { return o.Kind == core.KindArcData && strings.HasSuffix(o.Path, ".chunk[31]") }) {
				s.Error("no block of the ARC is in 32 pieces")
			}
			s.checkRoundTrip(z, objects)
		})
	})
}

// record is the part of a file in a block.
func record(content []byte, blkid int64) []byte {
	const size = 128 << 10
	return content[blkid*size : min(len(content), int(blkid+1)*size)]
}

// checkFile finds a file's dnode, and its data in dbufs or, as they need not stay when they are clean, in the ARC.
func (s *subject) checkFile(objects []core.Object, number uint64, content []byte, dirty bool) {
	s.Helper()
	found := map[int64]bool{}
	dnodes := 0
	for _, o := range objects {
		if o.Dataset != "tank/fs" || o.Object != number {
			continue
		}
		switch {
		case o.Kind == core.KindDnode:
			dnodes++
			if o.Dirty != dirty || o.DMUType != "DMU_OT_PLAIN_FILE_CONTENTS" {
				s.Errorf("dnode %d of %s: dirty is %v", number, o.DMUType, o.Dirty)
			}
		case o.Kind == core.KindData && o.Level == 0 && o.Blkid >= 0:
			p, err := o.Value().Bytes()
			if err != nil {
				s.Fatal(err)
			}
			if want := record(content, o.Blkid); !bytes.Equal(p[:len(want)], want) || o.Dirty != dirty || o.Metadata {
				s.Errorf("%s, dirty %v, metadata %v, begins with %x instead of %x", o.Path, o.Dirty, o.Metadata, p[:16], want[:16])
			}
			found[o.Blkid] = true
		}
	}
	inARC := s.inARC(objects, content)
	for blkid := range int64(3) {
		if !found[blkid] && (dirty || !inARC[blkid]) {
			s.Errorf("block %d of object %d is not in memory", blkid, number)
		}
	}
	if dnodes != 1 {
		s.Errorf("there are %d dnodes %d", dnodes, number)
	}
}

// inARC finds the blocks of a file in what the ARC keeps beside dbufs, put together from chunks.
func (s *subject) inARC(objects []core.Object, content []byte) map[int64]bool {
	blocks := map[string][]byte{}
	for _, o := range objects {
		if o.Kind != core.KindArcData || o.Metadata || o.Dirty {
			continue
		}
		p, err := o.Value().Bytes()
		if err != nil {
			s.Fatal(err)
		}
		owner, _, _ := strings.Cut(o.Path, ".")
		blocks[owner] = append(blocks[owner], p...)
	}
	found := map[int64]bool{}
	for _, p := range blocks {
		for blkid := range int64(3) {
			if want := record(content, blkid); len(p) >= len(want) && bytes.Equal(p[:len(want)], want) {
				found[blkid] = true
			}
		}
	}
	return found
}

// checkRoundTrip resolves the path of every object.
func (s *subject) checkRoundTrip(z *core.ZFS, objects []core.Object) {
	seen, wrong := map[string]bool{}, 0
	for _, o := range objects {
		if wrong > 5 {
			s.Fatal("and so on")
		}
		v, err := core.Scope{ZFS: z}.Resolve(o.Path)
		if err != nil {
			s.Errorf("%s: %v", o.Kind, err)
			wrong++
			continue
		}
		if v.Addr() != o.Addr || v.Type().String() != o.Value().Type().String() || v.Path() != o.Path {
			wrong++
			s.Errorf("%s %s at %#x resolves to %s at %#x, a %s", o.Type, o.Path, o.Addr, v.Path(), v.Addr(), v.Type())
		}
		if seen[o.Path] {
			s.Errorf("%s is listed twice", o.Path)
		}
		seen[o.Path] = true
	}
}

// checkClasses lists classes and resolves their members.
func (s *subject) checkClasses(z *core.ZFS) {
	for _, name := range []string{
		"zfs", "arc-data-clean", "arc-data-dirty", "dbuf-metadata", "dbuf-metadata-dirty", "range-tree", "segment", "dnode", "blkptr",
		"spacemap", "bpobj", "deadlist", "struct:blkptr_t", "struct:dnode_phys", "struct:metaslab_t", "struct:space_map_entry_2",
	} {
		objects, err := z.Class(name)
		if err != nil || len(objects) == 0 {
			s.Errorf("class %s has %d objects, %v", name, len(objects), err)
			continue
		}
		s.checkRoundTrip(z, objects[:min(100, len(objects))])
		if strings.HasSuffix(name, "-dirty") != objects[0].Dirty && strings.Contains(name, "-data-") {
			s.Errorf("class %s begins with %+v", name, objects[0])
		}
	}
	if _, err := z.Class("spacemaps"); err == nil || !strings.Contains(err.Error(), "spacemap,") {
		s.Errorf("an unknown class gives %v", err)
	}
}

// checkName names addresses inside of objects.
func (s *subject) checkName(z *core.ZFS) {
	scope := core.Scope{ZFS: z, Rand: rand.New(rand.NewPCG(1, 2))}
	for _, path := range []string{
		"spa.vdev[0].ms[*].ms_allocatable.seg[*].rs_end",
		`spa.objset("tank/fs").dnode[0].block[*].data[*].dn_datablkszsec`,
		"spa.vdev[0].ms[*].ms_sm.block[*].entry[*]",
		"spa.spa_uberblock.ub_txg",
	} {
		v, err := scope.Resolve(path)
		if err != nil {
			s.Error(err)
			continue
		}
		name, _, err := z.Name(s.Context(), v.Addr())
		if err != nil || !strings.HasPrefix(name, v.Path()) {
			s.Errorf("%s is called %s, %v", v.Path(), name, err)
		}
	}
	if name, _, err := z.Name(s.Context(), 0x1000); err == nil {
		s.Errorf("a low address is called %s", name)
	}
}

// checkErrors reads what wrong paths give.
func (s *subject) checkErrors(z *core.ZFS) {
	for path, want := range map[string]struct {
		column int
		says   []string
	}{
		`spa("nope").vdev[0]`:                 {1, []string{`no pool "nope"`, `is tank`}},
		"spa.vdev[7]":                         {9, []string{"no vdev 7", "is 0"}},
		"spa.vdev":                            {5, []string{"wants a number", "is 0"}},
		"spa.vdev[0].ms[0].ms_alocatable":     {19, []string{"metaslab_t has no member", "most like it ms_allocatable"}},
		`spa.objset("tank/nope")`:             {5, []string{"no open object set", `"tank/fs"`}},
		`spa.objset("mos").dnode[0].dbuf(0)`:  {28, []string{"a level and a block id"}},
		`spa.objset("mos").dnode[99999]`:      {24, []string{"no dnode 99999", "there are"}},
		"spa.vdev[0].vdev_child[0]":           {23, []string{"NULL"}},
		"spa.vdev[0].vdev_child[0].vdev_id":   {23, []string{"NULL"}},
		"spa.vdev[0].vdev_checkpoint_sm":      {30, []string{"NULL"}},
		"spa.vdev[0].ms[0].ms_freeing.seg[*]": {33, []string{"there is no seg"}},
		"blkptr":                              {1, []string{"no function is being entered"}},
		"zio_free_sync.x":                     {1, []string{"neither spa nor a global variable"}},
	} {
		_, err := core.Scope{ZFS: z, Rand: rand.New(rand.NewPCG(1, 2))}.Resolve(path)
		var at *core.PathError
		if !errors.As(err, &at) {
			s.Errorf("%s: %v", path, err)
			continue
		}
		if at.Column != want.column || slices.ContainsFunc(want.says, func(w string) bool { return !strings.Contains(at.Error(), w) }) {
			s.Errorf("%v; want column %d and %q", at, want.column, want.says)
		}
	}
}
