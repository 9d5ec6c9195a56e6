package core_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/host/hosttest"
	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/labtest"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/zfs/core"
)

// versions are those of OpenZFS to test with, separated by commas; the empty one is the default.
var versions = flag.String("openzfs", "", "versions of OpenZFS to test with, like 2.1.11,2.3.2")

// limit is for a guest to do something small, on a host that is busy with other tests.
const limit = 2 * time.Minute

// subject is a guest with a pool, and the way to look at it.
type subject struct {
	*testing.T
	m machine.Machine
	g *guest.Guest
	k *kernel.Kernel
}

// eachVersion runs a test on a fresh guest of every version asked for.
func eachVersion(t *testing.T, test func(*subject)) {
	l := labtest.Open(t)
	for _, version := range strings.Split(*versions, ",") {
		t.Run("openzfs="+version, func(t *testing.T) {
			img, err := l.Image(t.Context(), version)
			if err != nil {
				t.Fatal(err)
			}
			cp, err := l.Checkpoints().Booted(t.Context(), img, labtest.Machine())
			if err != nil {
				t.Fatal(err)
			}
			types, err := kernel.LoadTypes(t.Context(), filepath.Join(hosttest.Dirs(t).Cache, "types"),
				filepath.Join(img.Dir, "modules", "zfs.ko"), filepath.Join(img.Dir, "modules", "spl.ko"))
			if err != nil {
				t.Fatal(err)
			}
			m := labtest.Fork(t, l, cp, machine.ForkOptions{})
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			g, err := guest.Connect(ctx, m, guest.Keys{Login: img.LoginKey, Host: img.HostKey})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { g.Close() })
			layout, err := kernel.ReadLayout(ctx, g)
			if err != nil {
				t.Fatal(err)
			}
			test(&subject{t, m, g, kernel.New(m, types, layout)})
		})
	}
}

func (s *subject) run(format string, args ...any) string {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), limit)
	defer cancel()
	command := fmt.Sprintf(format, args...)
	out, err := s.g.Run(ctx, command)
	if err != nil {
		s.Fatal(err)
	}
	return strings.TrimSpace(string(out.Stdout))
}

// pool makes the pool tank of one disk.
func (s *subject) pool(properties map[string]string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), limit)
	defer cancel()
	if err := s.g.CreatePool(ctx, guest.PoolSpec{Name: "tank", Layout: []string{"v0"}, Properties: properties}); err != nil {
		s.Fatal(err)
	}
}

func (s *subject) number(format string, args ...any) uint64 {
	s.Helper()
	text := s.run(format, args...)
	n, err := strconv.ParseUint(text, 0, 64)
	if err != nil {
		s.Fatalf("%s: %v", fmt.Sprintf(format, args...), err)
	}
	return n
}

// look shows ZFS while the machine stands still.
func (s *subject) look(see func(z *core.ZFS)) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), limit)
	defer cancel()
	if err := s.m.Pause(ctx); err != nil {
		s.Fatal(err)
	}
	see(core.Open(s.k.View(ctx)))
	if err := s.m.Resume(ctx); err != nil {
		s.Fatal(err)
	}
}

// at resolves a path.
func (s *subject) at(z *core.ZFS, format string, args ...any) kernel.Value {
	s.Helper()
	v, err := core.Scope{ZFS: z, Rand: rand.New(rand.NewPCG(1, 2))}.Resolve(fmt.Sprintf(format, args...))
	if err != nil {
		s.Fatal(err)
	}
	return v
}

func (s *subject) uint(z *core.ZFS, format string, args ...any) uint64 {
	s.Helper()
	n, err := s.at(z, format, args...).Uint()
	if err != nil {
		s.Fatal(err)
	}
	return n
}

// objects lists all.
func (s *subject) objects(z *core.ZFS) []core.Object {
	s.Helper()
	var out []core.Object
	for o, err := range z.Objects(s.Context()) {
		if err != nil {
			s.Error(err)
			continue
		}
		out = append(out, o)
	}
	return out
}
