package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/scripttest"
	"github.com/vdevil/vdevil/scenarios"
)

// otherDriver differs from the scripted one in what identifies a hypervisor.
type otherDriver struct {
	*scripttest.Driver
	name, version string
	accel         machine.Accel
}

func (d otherDriver) Name() string         { return d.name }
func (d otherDriver) Version() string      { return d.version }
func (d otherDriver) Accel() machine.Accel { return d.accel }

// TestKey expects all that a checkpoint depends on to give it another name, and nothing else.
func TestKey(t *testing.T) {
	driver := otherDriver{name: "qemu", version: "9.2", accel: machine.KVM}
	m := scenarios.Machine{CPUs: 2, Memory: 1 << 30}
	key := func(d otherDriver, id, stage string, what any) string {
		return (&Cache{Driver: d}).key(&images.Image{ID: id}, stage, what)
	}
	base := key(driver, "image", "booted", m)
	if again := key(driver, "image", "booted", m); again != base {
		t.Errorf("%s, the second time %s", base, again)
	}
	if !strings.HasPrefix(base, "image-booted-") {
		t.Errorf("%s does not say what it is", base)
	}
	name, version, accel, larger := driver, driver, driver, m
	name.name, version.version, accel.accel, larger.Memory = "libvirt", "9.3", machine.TCG, 2<<30
	seen := map[string]string{base: "the base"}
	for what, k := range map[string]string{
		"image": key(driver, "other", "booted", m), "stage": key(driver, "image", "prepared", m), "machine": key(driver, "image", "booted", larger),
		"driver": key(name, "image", "booted", m), "version": key(version, "image", "booted", m), "accelerator": key(accel, "image", "booted", m),
	} {
		if other, twice := seen[k]; twice {
			t.Errorf("another %s has the key of %s", what, other)
		}
		seen[k] = what
	}
}

// newCache has checkpoints that are whole when they have a manifest, and what Progress is told.
func newCache(t *testing.T, progress func(what string, took time.Duration)) *Cache {
	t.Helper()
	return &Cache{Dir: t.TempDir(), Open: scripttest.OpenCheckpoint, Progress: progress}
}

// freezeInto makes a checkpoint of a machine.
func freezeInto(t *testing.T, dir string) (*machine.Checkpoint, error) {
	m := scripttest.New(t)
	m.OnCheckpoint = func(context.Context, string) error { return nil }
	return m.Checkpoint(t.Context(), dir, 1)
}

// TestNotWhole expects a checkpoint that cannot be opened to be made anew, with nothing left of what was there.
func TestNotWhole(t *testing.T) {
	for name, left := range map[string]string{"no manifest": "ram", "half a manifest": "checkpoint.json"} {
		t.Run(name, func(t *testing.T) {
			c := newCache(t, func(string, time.Duration) {})
			dir := filepath.Join(c.Dir, "key")
			if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, left), []byte("{"), 0o600), os.WriteFile(filepath.Join(dir, "more"), nil, 0o600)); err != nil {
				t.Fatal(err)
			}
			cp, err := c.cached(t.Context(), "key", "make it", func(dir string) (*machine.Checkpoint, error) { return freezeInto(t, dir) })
			if err != nil || cp.Dir != dir {
				t.Fatalf("got %+v, %v", cp, err)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
				t.Errorf("it has %v, %v", entries, err)
			}
		})
	}
}

// TestTogether has many ask at once for a checkpoint that is not there.
func TestTogether(t *testing.T) {
	var told []string
	c := newCache(t, func(what string, _ time.Duration) { told = append(told, what) }) // by one at a time, or the race detector objects
	entered, leave := make(chan struct{}, 10), make(chan struct{})
	fill := func(dir string) (*machine.Checkpoint, error) {
		entered <- struct{}{}
		<-leave
		return freezeInto(t, dir)
	}
	var all sync.WaitGroup
	ask := func() {
		cp, err := c.cached(t.Context(), "key", "make it", fill)
		if err != nil || cp.Dir != filepath.Join(c.Dir, "key") {
			t.Errorf("got %+v, %v", cp, err)
		}
	}
	all.Go(ask)
	<-entered
	for range 4 {
		all.Go(ask)
	}
	ended, end := context.WithCancelCause(t.Context())
	end(errors.New("nobody wants it"))
	if _, err := c.cached(ended, "key", "make it", fill); err == nil || err.Error() != "make it: nobody wants it" {
		t.Errorf("who wants it no more is told %v", err)
	}
	other := errors.New("made beside it")
	if _, err := c.cached(t.Context(), "other", "make another", func(string) (*machine.Checkpoint, error) { return nil, other }); !errors.Is(err, other) {
		t.Errorf("another key: %v", err)
	}
	close(leave)
	all.Wait()
	if len(entered) > 0 {
		t.Errorf("it was made %d times", len(entered)+1)
	}
	if want := []string{"make it", "make another", "make it"}; !slices.Equal(told, want) {
		t.Errorf("told %q", told)
	}
}

// TestFillFails expects the error of what makes a checkpoint to be told, and the next one to make it anew.
func TestFillFails(t *testing.T) {
	trouble := errors.New("disk full")
	for name, fill := range map[string]func(t *testing.T, dir string) (*machine.Checkpoint, error){
		"before it is there": func(*testing.T, string) (*machine.Checkpoint, error) { return nil, trouble },
		"half made": func(_ *testing.T, dir string) (*machine.Checkpoint, error) {
			return nil, errors.Join(os.MkdirAll(filepath.Join(dir, "ram"), 0o700), trouble)
		},
		"when it is whole": func(t *testing.T, dir string) (*machine.Checkpoint, error) {
			cp, err := freezeInto(t, dir)
			return cp, errors.Join(err, trouble)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCache(t, func(string, time.Duration) {})
			dir := filepath.Join(c.Dir, "key")
			_, err := c.cached(t.Context(), "key", "make it", func(dir string) (*machine.Checkpoint, error) { return fill(t, dir) })
			if !errors.Is(err, trouble) || !strings.HasPrefix(err.Error(), "make it: ") {
				t.Errorf("told %v", err)
			}
			if exists(dir) {
				t.Error("something is left")
			}
			made := false
			if _, err := c.cached(t.Context(), "key", "make it", func(dir string) (*machine.Checkpoint, error) { made = true; return freezeInto(t, dir) }); err != nil || !made {
				t.Errorf("made %v the second time, %v", made, err)
			}
		})
	}
}

// TestLockedElsewhere has another process at work on a checkpoint. It is killed as soon as Progress tells of it.
func TestLockedElsewhere(t *testing.T) {
	var told []string
	var took []bool
	waits := make(chan struct{})
	c := newCache(t, func(what string, d time.Duration) {
		told, took = append(told, what), append(took, d > 0)
		if len(told) == 1 {
			close(waits)
		}
	})
	lock := filepath.Join(c.Dir, "key") + lockSuffix
	holder := holdElsewhere(t, lock)
	done := make(chan error)
	go func() {
		_, err := c.cached(t.Context(), "key", "make it", func(dir string) (*machine.Checkpoint, error) { return freezeInto(t, dir) })
		done <- err
	}()
	select {
	case <-waits:
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	}
	holder.Process.Kill()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	wait := fmt.Sprintf("wait for process %d (%s hold it), who has the lock %s", holder.Process.Pid, os.Args[0], lock)
	if want := []string{wait, wait, "make it", "make it"}; !slices.Equal(told, want) || !slices.Equal(took, []bool{false, true, false, true}) {
		t.Errorf("told %q, %v", told, took)
	}
}

// TestLockedForGood ends the wait for another process.
func TestLockedForGood(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := newCache(t, func(string, time.Duration) { cancel() })
	unlock, err := host.TryLock(filepath.Join(c.Dir, "key") + lockSuffix)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	_, err = c.cached(ctx, "key", "make it", func(string) (*machine.Checkpoint, error) {
		t.Error("it was made in spite of the lock")
		return nil, nil
	})
	var locked *host.LockedError
	if !errors.Is(err, context.Canceled) || !errors.As(err, &locked) || !strings.HasPrefix(err.Error(), "make it: ") {
		t.Errorf("told %v", err)
	}
}

// TestClean has one of each kind of entry in a directory of checkpoints.
func TestClean(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"wanted", "unwanted", "half.part", "at-work", "at-work-too.part"} {
		if err := os.MkdirAll(filepath.Join(dir, name, "disks"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	used := time.Now().Add(-time.Hour).Truncate(time.Second)
	if err := os.Chtimes(filepath.Join(dir, "wanted"), used, used); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"at-work", "at-work-too"} {
		unlock, err := host.TryLock(filepath.Join(dir, name) + lockSuffix)
		if err != nil {
			t.Fatal(err)
		}
		defer unlock()
	}
	asked := map[string]time.Time{}
	removed, err := Clean(dir, func(name string, used time.Time) bool {
		asked[name] = used
		return name == "wanted" || name == "half" // which is not whole, whoever wants it
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{filepath.Join(dir, "half.part"), filepath.Join(dir, "unwanted")}; !slices.Equal(removed, want) {
		t.Errorf("removed %q", removed)
	}
	if len(asked) != 3 || !asked["wanted"].Equal(used) || asked["unwanted"].IsZero() || asked["at-work"].IsZero() {
		t.Errorf("asked for %v", asked)
	}
	for name, there := range map[string]bool{"wanted": true, "unwanted": false, "half.part": false, "at-work": true, "at-work-too.part": true, "file": true} {
		if exists(filepath.Join(dir, name)) != there {
			t.Errorf("%s is there: %v", name, !there)
		}
	}
}

func TestCleanNothing(t *testing.T) {
	dir := t.TempDir()
	if removed, err := Clean(filepath.Join(dir, "none"), nil); err != nil || removed != nil {
		t.Errorf("no directory: %q, %v", removed, err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Clean(file, nil); err == nil {
		t.Error("a file was cleaned")
	}
}
