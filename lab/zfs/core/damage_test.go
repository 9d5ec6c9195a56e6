package core_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/zfs/core"
)

// flipped is the view with one bit of a value changed, which is put back afterwards.
func (s *subject) flipped(ctx context.Context, addr uint64, bit int, see func(*core.ZFS)) {
	s.Helper()
	phys, err := s.k.View(ctx).Phys(addr)
	if err != nil {
		s.Fatal(err)
	}
	flip := func() {
		p := make([]byte, 1)
		if err := s.m.ReadPhys(ctx, phys, p); err != nil {
			s.Fatal(err)
		}
		p[0] ^= 1 << bit
		if err := s.m.WritePhys(ctx, phys, p); err != nil {
			s.Fatal(err)
		}
	}
	flip()
	see(core.Open(s.k.View(ctx)))
	flip()
}

// TestDamage looks at structures that are not as they should be: that ends, with an error where the damage is met.
func TestDamage(t *testing.T) {
	eachVersion(t, func(s *subject) {
		s.pool(map[string]string{"compression": "off"})
		s.run("cd /tank; head -c 2000000 /dev/urandom | split -b 20000; zpool sync; rm *a; zpool sync")
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		if err := s.m.Pause(ctx); err != nil {
			s.Fatal(err)
		}
		z := core.Open(s.k.View(ctx))
		for path, says := range map[string]string{
			"spa.vdev[0].ms[0].ms_allocatable.rt_root.leaf[0].btl_hdr.bth_count":   "elements",
			"&spa.vdev[0].ms[0].ms_allocatable.rt_root.leaf[0].btl_hdr.bth_parent": "parent",
			"spa.vdev[0].ms[0].ms_allocatable.rt_root.bt_num_elems":                "it says",
			"&spa.vdev[0].ms[0].ms_allocatable.rt_root.bt_root":                    "parent",
			"spa.vdev[0].ms[0].ms_allocatable.rt_type":                             "rt_type",
			"spa.vdev[0].ms[1].ms_id":                                              "its number is 33",
			"dbuf_hash_table.hash_table_mask":                                      "mask",
			`spa.objset("tank").os_dnodes.list_head.next`:                          "points back",
		} {
			v := s.at(z, "%s", path)
			s.flipped(ctx, v.Addr(), 5, func(z *core.ZFS) {
				var all []string
				for _, err := range z.Objects(ctx) {
					if err != nil {
						all = append(all, err.Error())
					}
				}
				if !strings.Contains(strings.Join(all, "\n"), says) {
					s.Errorf("damage of %s gives %q instead of %q", path, all, says)
				}
			})
		}
		s.strike(ctx, z)
	})
}

// strike flips bits at random, mostly of pointers and counts, and looks at everything each time.
func (s *subject) strike(ctx context.Context, z *core.ZFS) {
	const strikes = 150
	r := rand.New(rand.NewPCG(5, 6))
	var structs []core.Object
	for _, o := range s.objects(z) {
		if t := o.Value().Type().Base(); t.Kind() == kernel.Struct && o.Kind != core.KindData {
			structs = append(structs, o)
		}
	}
	failed := 0
	for range strikes {
		o := structs[r.IntN(len(structs))]
		addr := o.Addr + r.Uint64N(o.Size)
		s.flipped(ctx, addr, r.IntN(8), func(z *core.ZFS) {
			for _, err := range z.Objects(ctx) {
				if err != nil {
					failed++
					break
				}
			}
		})
		if err := ctx.Err(); err != nil {
			s.Fatalf("a flip at %#x, in %s, has no end: %v", addr, o.Path, err)
		}
	}
	if failed == 0 {
		s.Errorf("none of %d flips was noticed", strikes)
	}
	s.Logf("%d of %d flips were noticed", failed, strikes)
}
