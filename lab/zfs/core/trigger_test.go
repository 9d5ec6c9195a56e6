package core_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/zfs/core"
)

// stopped is a machine that stands at the entry of a function.
type stopped struct {
	scope core.Scope
	regs  machine.Registers
}

// at stops the machine at the entry of a function while a command runs, as often as visit wants, and lets it go on.
func (s *subject) stopAt(function, command string, visit func(stopped) (again bool)) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), limit)
	defer cancel()
	fn, err := s.k.Types().Func(function)
	if err != nil {
		s.Fatal(err)
	}
	addr, err := s.k.Addr(function)
	if err != nil {
		s.Fatal(err)
	}
	dbg, err := s.m.Debug(ctx)
	if err != nil {
		s.Fatal(err)
	}
	if err := dbg.Break(ctx, addr); err != nil {
		s.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := s.g.Run(ctx, command)
		done <- err
	}()
	for again := true; again; {
		stop, err := dbg.Continue(ctx)
		if err != nil {
			s.Fatal(err)
		}
		regs, err := dbg.Registers(ctx, stop.CPU)
		if err != nil {
			s.Fatal(err)
		}
		again = visit(stopped{core.Scope{ZFS: core.Open(s.k.View(ctx)), Frame: &kernel.Frame{Func: fn, Registers: regs}}, regs})
	}
	if err := errors.Join(dbg.Close(), <-done); err != nil {
		s.Fatal(err)
	}
}

func (s *subject) resolve(scope core.Scope, path string) kernel.Value {
	s.Helper()
	v, err := scope.Resolve(path)
	if err != nil {
		s.Fatal(err)
	}
	return v
}

// TestArguments begins paths at the arguments of functions.
func TestArguments(t *testing.T) {
	eachVersion(t, func(s *subject) {
		s.pool(map[string]string{"compression": "off"})
		s.run("head -c 100000 /dev/urandom > /tank/file && zpool sync tank")
		s.stopAt("zio_free_sync", "rm /tank/file; zpool sync tank", func(at stopped) bool {
			for path, want := range map[string]uint64{
				"bp.blk_dva[0].dva_word[1]":         at.regs.RCX + 8,
				"blkptr.blk_dva[0].dva_word[1]":     at.regs.RCX + 8,
				"blkptr_t->blk_dva[0]->dva_word[1]": at.regs.RCX + 8,
				"bp":                                at.regs.RCX,
				"spa":                               at.regs.RSI,
				"txg":                               0,
			} {
				if v := s.resolve(at.scope, path); v.Addr() != want {
					s.Errorf("%s is at %#x instead of %#x", path, v.Addr(), want)
				}
			}
			txg, err := s.resolve(at.scope, "txg").Uint()
			if err != nil || txg != at.regs.RDX || txg != s.uint(at.scope.ZFS, "spa.spa_syncing_txg") {
				s.Errorf("txg is %d, %v", txg, err)
			}
			if name, err := s.resolve(at.scope, "spa.spa_name").CString(); err != nil || name != "tank" {
				s.Errorf("the pool is called %q, %v", name, err)
			}
			if _, err := at.scope.Resolve("dnode.dn_type"); err == nil || !strings.Contains(err.Error(), "there are pio, spa, txg, bp, flags") {
				s.Errorf("dnode: %v", err)
			}
			return false
		})

		// In the middle of a sync the space map that is being written has dirty blocks.
		s.stopAt("space_map_write", "touch /tank/other; zpool sync tank", func(at stopped) bool {
			sm := s.resolve(at.scope, "sm")
			if sm.Addr() != at.regs.RDI || s.resolve(at.scope, "space_map").Addr() != sm.Addr() {
				s.Errorf("sm is at %#x", sm.Addr())
			}
			if rt := s.resolve(at.scope, "rt.seg[0]"); !strings.Contains(rt.Type().Name(), "range_seg") {
				s.Errorf("the first segment to be written is a %s", rt.Type())
			}
			return false
		})

		// The device's queue knows of what is sent to a disk.
		hits, found := 0, 0
		s.stopAt("vdev_disk_io_start", "head -c 3000000 /dev/urandom > /tank/more; zpool sync tank", func(at stopped) bool {
			zios, err := at.scope.ZFS.Class("zio")
			if err != nil {
				s.Fatal(err)
			}
			for _, zio := range zios {
				if zio.Addr == at.regs.RDI {
					found++
				}
			}
			hits++
			return hits < 10
		})
		if s.Logf("%d of %d I/Os were listed", found, hits); found < hits/2 {
			s.Errorf("of %d I/Os that went to the disk only %d were listed", hits, found)
		}
	})
}
