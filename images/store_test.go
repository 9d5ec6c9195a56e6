package images

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vdevil/vdevil/lab/host"
)

// newStore is an empty store whose builds write small files.
func newStore(t *testing.T) *Store {
	t.Helper()
	base := t.TempDir()
	s, err := Open(t.Context(), host.Dirs{Cache: base + "/cache", State: base + "/state", Run: base + "/run"})
	if err != nil {
		t.Fatal(err)
	}
	s.build, s.work = fakeBuild, t.TempDir()
	return s
}

func fakeBuild(_ context.Context, j *job) error {
	j.release, j.version = "6.1.0", j.recipe.OpenZFS+"-1"
	if err := os.Mkdir(filepath.Join(j.dir, "modules"), 0o755); err != nil {
		return err
	}
	for _, name := range j.recipe.files() {
		if err := os.WriteFile(filepath.Join(j.dir, name), []byte(name+" of "+j.recipe.OpenZFS), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// content are the names in the store's images directory, locks left out.
func content(t *testing.T, s *Store) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.dirs.Cache, "images"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestEnsure(t *testing.T) {
	s := newStore(t)
	img, err := s.Ensure(t.Context(), "", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if img.OpenZFS != "2.3.2" || img.Release != "6.1.0" || !img.Current || !strings.HasPrefix(img.ID, "2.3.2-") {
		t.Errorf("got %+v", img)
	}
	for _, path := range []string{img.Kernel, img.Initrd, img.Root, img.Modules + "/zfs.ko", img.Modules + "/spl.ko", img.LoginKey, img.HostKey} {
		if _, err := os.Stat(path); err != nil || !filepath.IsAbs(path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := img.Verify(); err != nil {
		t.Error(err)
	}
	s.build = func(context.Context, *job) error { t.Error("built again"); return errors.New("no network") }
	again, err := s.Ensure(t.Context(), "2.3.2", Options{})
	if err != nil || again.ID != img.ID {
		t.Errorf("second time: %+v, %v", again, err)
	}
	if _, err := s.Ensure(t.Context(), "9.9.9", Options{}); err == nil || !strings.Contains(err.Error(), "2.4.4") {
		t.Errorf("an unknown version: %v", err)
	}
	for _, want := range []string{"root=/dev/vda", "rw", "console=ttyS0", "nokaslr", "mitigations=off", "panic=-1", "net.ifnames=0", "loglevel=6", "sysctl.kernel.printk=7", "sysrq_always_enabled"} {
		if !strings.Contains(" "+img.Cmdline("/dev/vda")+" ", " "+want+" ") {
			t.Errorf("the command line lacks %s", want)
		}
	}
}

func TestEnsureTogether(t *testing.T) {
	s := newStore(t)
	var builds atomic.Int32
	entered, leave := make(chan struct{}), make(chan struct{})
	s.build = func(ctx context.Context, j *job) error {
		builds.Add(1)
		close(entered) // a second build would panic here
		<-leave
		return fakeBuild(ctx, j)
	}
	var wg sync.WaitGroup
	failed := make(chan struct{}, 4)
	ensure := func(o Options) {
		wg.Go(func() {
			if img, err := s.Ensure(t.Context(), "2.3.2", o); err != nil || img == nil {
				t.Error(img, err)
				failed <- struct{}{}
			}
		})
	}
	ensure(Options{})
	select {
	case <-entered:
	case <-failed:
		t.FailNow()
	}
	waiting := make(chan Step)
	for range 3 {
		ensure(Options{Progress: func(st Step) { waiting <- st }})
	}
	for range 3 {
		if st := <-waiting; st.Index != 0 || !strings.HasPrefix(st.Name, "waiting for this process") {
			t.Errorf("told %+v, want that it waits", st)
		}
	}
	close(leave)
	wg.Wait()
	if n := builds.Load(); n != 1 {
		t.Errorf("built %d times", n)
	}
	if names := content(t, s); len(names) != 1 {
		t.Errorf("the store holds %q", names)
	}
}

func TestEnsureCancelled(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.build = func(ctx context.Context, j *job) error {
		if err := fakeBuild(ctx, j); err != nil {
			return err
		}
		cancel()
		return ctx.Err()
	}
	if _, err := s.Ensure(ctx, "2.3.2", Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if names := content(t, s); len(names) != 0 {
		t.Errorf("left behind %q", names)
	}
	s.build = fakeBuild
	if _, err := s.Ensure(t.Context(), "2.3.2", Options{}); err != nil {
		t.Errorf("the next build: %v", err)
	}
}

// An overlay of one root disk is ruin on another: an image that is built again is the same one only if all bits are.
func TestID(t *testing.T) {
	ids := map[string]string{}
	s := newStore(t)
	for _, name := range append([]string{"nothing", "nothing again"}, Recipe{}.files()...) {
		s.build = func(ctx context.Context, j *job) error {
			err := fakeBuild(ctx, j)
			if f, ferr := os.OpenFile(filepath.Join(j.dir, name), os.O_APPEND|os.O_WRONLY, 0); ferr == nil {
				_, werr := f.WriteString("!")
				err = errors.Join(err, werr, f.Close())
			}
			return err
		}
		img, err := s.Ensure(t.Context(), "2.3.2", Options{})
		if err != nil {
			t.Fatal(err)
		}
		ids[img.ID] += name + " "
		if err := s.Remove("2.3.2"); err != nil {
			t.Fatal(err)
		}
	}
	if len(ids) != 1+len(Recipe{}.files()) {
		t.Errorf("images by what was changed: %q", ids)
	}
}

func TestCorrupt(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(img *Image) error
		names string
		quick bool // found without reading everything
	}{
		"short":        {func(i *Image) error { return os.Truncate(i.Root, 3) }, "root.img", true},
		"missing":      {func(i *Image) error { return os.Remove(i.Modules + "/zfs.ko") }, "zfs.ko", true},
		"no manifest":  {func(i *Image) error { return os.Remove(i.Dir + "/image.json") }, "image.json", true},
		"bad manifest": {func(i *Image) error { return os.WriteFile(i.Dir+"/image.json", []byte("{"), 0o644) }, "image.json", true},
		"one byte": {func(i *Image) error {
			b, err := os.ReadFile(i.Kernel)
			b[1] ^= 4
			return errors.Join(err, os.WriteFile(i.Kernel, b, 0o644))
		}, "vmlinux", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			img, err := s.Ensure(t.Context(), "2.3.9", Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.spoil(img); err != nil {
				t.Fatal(err)
			}
			_, err = s.Ensure(t.Context(), "2.3.9", Options{})
			if tt.quick != (err != nil) {
				t.Fatalf("Ensure: %v", err)
			}
			if !tt.quick {
				err = img.Verify()
			}
			var corrupt *CorruptError
			if !errors.As(err, &corrupt) || !strings.Contains(err.Error(), tt.names) || !strings.Contains(err.Error(), "vdevil image rm 2.3.9") {
				t.Fatalf("got %v, want the file %s and the remedy", err, tt.names)
			}
			if err := s.Remove("2.3.9"); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Ensure(t.Context(), "2.3.9", Options{}); err != nil {
				t.Errorf("after the remedy: %v", err)
			}
		})
	}
}

func TestListAndRemove(t *testing.T) {
	s := newStore(t)
	for _, v := range []string{"2.3.2", "2.3.9"} {
		if _, err := s.Ensure(t.Context(), v, Options{}); err != nil {
			t.Fatal(err)
		}
	}
	// Other keys make another image; the old one stays, and is not current.
	if err := errors.Join(os.Remove(s.keys.login.Path), os.Remove(s.keys.login.Path+".pub")); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), s.dirs)
	if err != nil {
		t.Fatal(err)
	}
	s.build = fakeBuild
	if _, err := s.Ensure(t.Context(), "2.3.2", Options{}); err != nil {
		t.Fatal(err)
	}
	imgs, err := s.List()
	current := 0
	for _, img := range imgs {
		if img.Current {
			current++
		}
	}
	if err != nil || len(imgs) != 3 || current != 1 {
		t.Errorf("%d images, %d current, %v; want 3 and 1", len(imgs), current, err)
	}
	unlock, err := host.TryLock(s.lockFile("2.3.2"))
	if err != nil {
		t.Fatal(err)
	}
	var locked *host.LockedError
	if err := s.Remove("2.3.2"); !errors.As(err, &locked) {
		t.Errorf("removing what somebody builds: %v", err)
	}
	unlock()
	if err := s.Remove("2.3.2"); err != nil {
		t.Error(err)
	}
	if names := content(t, s); len(names) != 1 || !strings.HasPrefix(names[0], "2.3.9-") {
		t.Errorf("left %q", names)
	}
	if err := s.Remove("2.3.2"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("removing nothing: %v", err)
	}
}

func TestClean(t *testing.T) {
	s := newStore(t)
	self, err := host.Self()
	if err != nil {
		t.Fatal(err)
	}
	dead := host.Process{PID: self.PID, Started: self.Started + 1}
	mine := filepath.Join(s.dirs.Cache, "images", buildingPrefix+"2.3.2-"+self.String())
	left := filepath.Join(s.dirs.Cache, "images", buildingPrefix+"2.3.2-"+dead.String())
	work, err := os.MkdirTemp(s.work, workPrefix()+dead.String()+"-")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{mine, left + "/guest", work + "/mmdebstrap.x"} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	removed, err := s.Clean()
	if err != nil || !strings.Contains(strings.Join(removed, " "), left) || !strings.Contains(strings.Join(removed, " "), work) {
		t.Errorf("removed %q, %v", removed, err)
	}
	for path, stays := range map[string]bool{mine: true, left: false, work: false} {
		if _, err := os.Stat(path); (err == nil) != stays {
			t.Errorf("%s: %v, want it to stay: %v", path, err, stays)
		}
	}
}

func TestBuildErrors(t *testing.T) {
	j := &job{recipe: Recipe{OpenZFS: "2.3.2"}, log: filepath.Join(t.TempDir(), "log")}
	for log, remedy := range map[string]string{
		"kernel | @gone 2.1.11-1 2.3.5-2~bpo12+1 ":                          "it has: 2.1.11-1 2.3.5-2~bpo12+1",
		"guest  | tar: ./x: Cannot write: No space left on device":          "The disk is full",
		"kernel | E: Failed to fetch http://m/x.deb  Could not resolve 'm'": "--mirror URL",
		"kernel | W: GPG error: NO_PUBKEY 0E98404D386FA1D9":                 "debian-archive-keyring",
		"kernel | E: cannot find newuidmap":                                 "/etc/subuid",
		"kernel | make: *** [zfs.o] Error 1":                                "",
	} {
		lines := strings.Repeat("earlier\n", 50) + log + "\n" + strings.Repeat("I: later\n", 5)
		if err := os.WriteFile(j.log, []byte(lines), 0o644); err != nil {
			t.Fatal(err)
		}
		err := newBuildError("image", j.log, errors.New("exit status 25"))
		text := err.Error()
		if len(err.Tail) != 30 || !strings.Contains(text, log) || !strings.Contains(text, j.log) || !strings.Contains(text, "exit status 25") {
			t.Errorf("%q lacks evidence", text)
		}
		if remedy == "" && err.Remedy != "" || !strings.Contains(err.Remedy, remedy) {
			t.Errorf("%s: remedy %q, want %q", log, err.Remedy, remedy)
		}
	}
}

// An image that is reached by a link says where it lies: checkpoints outlive the link.
func TestLoadByLink(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	place, link := filepath.Join(dir, "place"), filepath.Join(dir, "link")
	if err := errors.Join(os.MkdirAll(filepath.Join(place, "modules"), 0o755), os.Symlink(place, link)); err != nil {
		t.Fatal(err)
	}
	for _, name := range (Recipe{}).files() {
		if err := os.WriteFile(filepath.Join(place, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(place, manifestName), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	img, err := load(link, "0.0.0")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{img.Dir, img.Kernel, img.Initrd, img.Root, img.Modules} {
		if !strings.HasPrefix(path, place) {
			t.Errorf("%s is not in %s", path, place)
		}
	}
}
