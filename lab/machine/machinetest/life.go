package machinetest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/machine"
)

// boot starts a machine from nothing and closes it in the middle of its boot. That one boots to the end, a checkpoint that
// was made of one shows.
func (s suite) boot(t *testing.T) {
	m, err := s.Lab.Driver().Boot(t.Context(), s.cp.Config)
	if err != nil {
		t.Fatal(err)
	}
	printed(t, m, 0, "Linux version")
	if len(m.Command()) == 0 || !strings.Contains(strings.Join(m.Command(), " "), s.cp.Config.Cmdline) {
		t.Errorf("the command says nothing of the kernel's: %q", m.Command())
	}
	closeTwice(t, m)
	if err := wait(t, m); err != nil {
		t.Errorf("a machine that was closed ended with %v", err)
	}
}

func closeTwice(t *testing.T, m machine.Machine) {
	t.Helper()
	for range 2 {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	gone(t, m)
}

// badStart checks that the error of a QEMU that will not start carries QEMU's own words, and that nothing is left.
func (s suite) badStart(t *testing.T) {
	c := s.cp.Config
	c.Kernel = filepath.Join(t.TempDir(), "no-such-kernel")
	if err := os.WriteFile(c.Kernel, nil, 0o644); err != nil { // to be linked to, where files are, and to be no kernel
		t.Fatal(err)
	}
	known := s.machines(t)
	m, err := s.Lab.Driver().Boot(t.Context(), c)
	if err == nil {
		m.Close()
		t.Fatal("a machine without a kernel started")
	}
	var e *machine.Error
	if !errors.As(err, &e) || !strings.Contains(err.Error(), "could not load kernel") {
		t.Errorf("QEMU's words are missing: %v", err)
	}
	s.none(t, known)
}

// none checks that there are no machines of this process but for known ones, whose files may be removed later.
func (s suite) none(t *testing.T, known []string) {
	t.Helper()
	now := s.machines(t)
	for _, dir := range now[:len(now)-1] {
		if !slices.Contains(known, dir) {
			t.Errorf("machine %s was left behind", dir)
		}
	}
}

// machines are the directories that machines of this process have claimed. The last is that of one that was started, and
// closed, to see where they are.
func (s suite) machines(t *testing.T) (dirs []string) {
	t.Helper()
	m := s.fork(t, machine.ForkOptions{Paused: true})
	own := directory(m)
	dirs = claimed(t, filepath.Dir(own))
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	return append(slices.DeleteFunc(dirs, func(dir string) bool { return dir == own }), own)
}

// claimed are the directories below one that machines of this process have claimed.
func claimed(t *testing.T, parent string) (dirs []string) {
	t.Helper()
	self, err := host.Self()
	if err != nil {
		t.Fatal(err)
	}
	owners, err := filepath.Glob(filepath.Join(parent, "*", "owner"))
	if err != nil {
		t.Fatal(err)
	}
	for _, owner := range owners {
		text, err := os.ReadFile(owner)
		if err == nil && strings.TrimSpace(string(text)) == self.String() {
			dirs = append(dirs, filepath.Dir(owner))
		}
	}
	return dirs
}

// ahead expects machines that were restored ahead, and that nobody is about to ask for, to be let go of.
func (s suite) ahead(t *testing.T) {
	d, ok := s.Lab.Driver().(interface {
		machine.Releaser
		Settle()
	})
	if !ok {
		t.Fatal("the driver restores nothing ahead")
	}
	known := s.machines(t)
	m := s.fork(t, machine.ForkOptions{Paused: true, Next: 2})
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	d.Settle()
	if err := d.Release(s.cp); err != nil {
		t.Error(err)
	}
	left := func() []string {
		return slices.DeleteFunc(claimed(t, filepath.Dir(directory(m))), func(dir string) bool { return slices.Contains(known, dir) })
	}
	for end := time.Now().Add(limit); len(left()) > 0; { // files may be removed later
		if time.Now().After(end) {
			t.Fatalf("left behind are %v", left())
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
}

func directory(m machine.Machine) string { return filepath.Dir(m.Disks()[0].Path) }

func (s suite) ends(t *testing.T) {
	t.Run("power off is no error", func(t *testing.T) {
		m := s.fork(t, machine.ForkOptions{})
		if err := m.PowerOff(); err != nil {
			t.Error(err)
		}
		if err := wait(t, m); err != nil {
			t.Error(err)
		}
		if err := m.Resume(t.Context()); err == nil {
			t.Error("a dead machine resumed")
		}
		if !exists(m.Disks()[0].Path) {
			t.Error("the disks went with the power")
		}
		closeTwice(t, m)
	})
	t.Run("a guest that switches itself off ends in order", func(t *testing.T) {
		m := s.fork(t, machine.ForkOptions{})
		g := s.connect(t, m)
		// Some seconds later, when sshd is silent: start_xmit of virtio_net loops for ever if the device is shut down under
		// it, and with the answer to this command on its way that came about once in 200 times.
		run(t, g, "(sleep 3; echo o >/proc/sysrq-trigger) </dev/null >/dev/null 2>&1 &")
		if err := wait(t, m); err != nil {
			t.Error(err)
		}
		closeTwice(t, m)
	})
	t.Run("so does one that panics", func(t *testing.T) {
		m := s.fork(t, machine.ForkOptions{})
		g := s.connect(t, m)
		go func() { _, _ = g.Run(t.Context(), "echo c >/proc/sysrq-trigger") }()
		if err := wait(t, m); err != nil {
			t.Error(err)
		}
		printed(t, m, m.Console().Start(), "Kernel panic")
	})
	t.Run("a QEMU that is killed has died", func(t *testing.T) {
		m := s.fork(t, machine.ForkOptions{})
		pid, ok := processOf(m)
		if !ok {
			t.Fatal("it has no process")
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		err := wait(t, m)
		if !errors.Is(err, machine.ErrDied) || !strings.Contains(err.Error(), m.ID()) {
			t.Errorf("it ended with %v", err)
		}
		if err := m.ReadPhys(t.Context(), 64<<20, make([]byte, 8)); !errors.Is(err, machine.ErrDied) {
			t.Errorf("the memory of a dead machine says %v", err)
		}
		if err := m.Pause(t.Context()); !errors.Is(err, machine.ErrDied) {
			t.Errorf("a dead machine says %v", err)
		}
		closeTwice(t, m)
	})
}

func (s suite) refusals(t *testing.T) {
	d := s.Lab.Driver()
	t.Run("a checkpoint of memory that is not its own", func(t *testing.T) {
		m := s.fork(t, machine.ForkOptions{Paused: true})
		if _, err := m.Checkpoint(t.Context(), filepath.Join(t.TempDir(), "cp"), 1); err == nil || !strings.Contains(err.Error(), "Freezable") {
			t.Errorf("got %v", err)
		}
		if _, err := m.Dial(t.Context(), 4711); err == nil {
			t.Error("a port that is not forwarded could be dialled")
		}
	})
	for name, change := range map[string]func(*machine.Checkpoint){
		"a checkpoint of another driver":      func(c *machine.Checkpoint) { c.Driver = "another" },
		"a checkpoint of another version":     func(c *machine.Checkpoint) { c.Version = "another" },
		"a checkpoint of another accelerator": func(c *machine.Checkpoint) { c.Accel = "another" },
	} {
		t.Run(name, func(t *testing.T) {
			other := *s.cp
			change(&other)
			m, err := d.Fork(t.Context(), &other, machine.ForkOptions{})
			if err == nil {
				m.Close()
				t.Fatal("it was forked")
			}
			if !strings.Contains(err.Error(), "does not carry over") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// countdown is a context that ends when it has been looked at a number of times.
type countdown struct {
	context.Context //nolint:containedctx // it is one
	left            *atomic.Int64
	done            chan struct{}
	once            *sync.Once
}

func newCountdown(t *testing.T, n int64) *countdown {
	c := &countdown{Context: t.Context(), left: &atomic.Int64{}, done: make(chan struct{}), once: &sync.Once{}}
	c.left.Store(n)
	return c
}

func (c *countdown) look() {
	if c.left.Add(-1) < 0 {
		c.once.Do(func() { close(c.done) })
	}
}

func (c *countdown) Done() <-chan struct{} {
	c.look()
	return c.done
}

func (c *countdown) Err() error {
	select {
	case <-c.done:
		return context.Canceled
	default:
		return nil
	}
}

// cancelled ends the context at every step of starting a machine, and of what is done with one.
func (s suite) cancelled(t *testing.T) {
	t.Run("in every step of a fork", func(t *testing.T) {
		known := s.machines(t)
		for n := int64(0); ; n++ {
			ctx := newCountdown(t, n)
			// A freezable one does not take what was made ahead.
			m, err := s.Lab.Driver().Fork(ctx, s.cp, machine.ForkOptions{Freezable: true, Paused: true})
			if err == nil {
				if err := m.Close(); err != nil {
					t.Error(err)
				}
				gone(t, m)
				known = append(known, directory(m))
				t.Logf("a fork takes %d looks at its context", n)
				break
			}
			if !errors.Is(err, context.Canceled) {
				t.Errorf("after %d looks: %v", n, err)
			}
		}
		s.none(t, known)
	})
	t.Run("before everything else", func(t *testing.T) {
		m := s.fork(t, machine.ForkOptions{Freezable: true})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		p := make([]byte, 8)
		dir := filepath.Join(t.TempDir(), "cp")
		for name, do := range map[string]func() error{
			"Pause":      func() error { return m.Pause(ctx) },
			"Resume":     func() error { return m.Resume(ctx) },
			"Translate":  func() error { _, err := m.Translate(ctx, 0, 0x1000); return err },
			"ReadPhys":   func() error { return m.ReadPhys(ctx, 1<<20, p) },
			"WritePhys":  func() error { return m.WritePhys(ctx, 1<<20, p) },
			"Dial":       func() error { _, err := m.Dial(ctx, s.cp.Config.Ports[0]); return err },
			"Debug":      func() error { _, err := m.Debug(ctx); return err },
			"Checkpoint": func() error { _, err := m.Checkpoint(ctx, dir, 1); return err },
			"Wait":       func() error { return m.Wait(ctx) },
		} {
			if err := do(); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if exists(dir) {
			t.Error("a checkpoint was made")
		}
		if got := run(t, s.connect(t, m), "echo alive"); got != "alive" { // no harm was done
			t.Errorf("the guest says %q", got)
		}
	})
}

// restarted stops the daemon under a running guest.
func (s suite) restarted(t *testing.T) {
	m := s.fork(t, machine.ForkOptions{Freezable: true})
	g := s.connect(t, m)
	word := make([]byte, 4096)
	if err := m.ReadPhys(t.Context(), 64<<20, word); err != nil {
		t.Fatal(err)
	}
	var died machine.Machine
	s.Restart(t, func() {
		if got := run(t, g, "echo alive"); got != "alive" {
			t.Errorf("without the daemon the guest says %q", got)
		}
		if err := m.ReadPhys(t.Context(), 64<<20, word); err != nil {
			t.Errorf("memory that was read before: %v", err)
		}
		if err := m.Pause(t.Context()); err == nil {
			t.Error("a machine was paused without the daemon")
		} else if !strings.Contains(err.Error(), "start it") {
			t.Errorf("no remedy is named: %v", err)
		}
		if f, err := s.Lab.Driver().Fork(t.Context(), s.cp, machine.ForkOptions{Freezable: true}); err == nil {
			f.Close()
			t.Error("a machine was started without the daemon")
		}
	})
	if err := m.Pause(t.Context()); err != nil { // the driver has found it again
		t.Fatal(err)
	}
	if err := m.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := run(t, g, "echo alive"); got != "alive" {
		t.Errorf("after the restart the guest says %q", got)
	}
	died = s.fork(t, machine.ForkOptions{})
	s.Restart(t, func() { closeTwice(t, died) }) // its QEMU ends without the daemon, too
	closeTwice(t, m)
	m = s.fork(t, machine.ForkOptions{})
	if got := run(t, s.connect(t, m), "echo alive"); got != "alive" {
		t.Errorf("a new fork says %q", got)
	}
}
