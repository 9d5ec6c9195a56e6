package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vdevil/vdevil/images/source"
	"github.com/vdevil/vdevil/lab/host"
)

const treePrefix = "tree-"

// whatTree is what the image of a tree is called in errors.
func whatTree(name string) string { return "image of OpenZFS " + name }

// sourcesDir is for what must be written to read a checkout.
const sourcesDir = "sources"

// Source opens the repository that a directory is in.
func (s *Store) Source(ctx context.Context, dir string) (*source.Repo, error) {
	return source.Open(ctx, dir, filepath.Join(s.dirs.Cache, sourcesDir))
}

// On gives the image that a tree's is put on, one without modules of OpenZFS: the first whose kernel the tree was written for. If the
// store has none it is built, and what compiles trees beside it.
func (s *Store) On(ctx context.Context, t source.Tree, o Options) (*Image, error) {
	r, err := s.under(t)
	if err != nil {
		return nil, err
	}
	return s.ensure(ctx, r, basePhases, o)
}

// ErrNoKernel says that a tree is for other kernels than the lab has.
var ErrNoKernel = errors.New("no kernel for it")

// under is the recipe of the image that a tree's is put on.
func (s *Store) under(t source.Tree) (Recipe, error) {
	var kernels []string
	for _, version := range s.Versions() {
		r, err := find(s.recipes, version)
		if err != nil {
			return Recipe{}, err
		}
		if r.Kernel == "" {
			continue
		}
		if !older(r.Kernel, t.Linux.Min) && (t.Linux.Max == "" || !older(t.Linux.Max, r.Kernel)) {
			return r.bare(), nil
		}
		kernels = append(kernels, r.Kernel)
	}
	return Recipe{}, fmt.Errorf("OpenZFS %s: %w: its META says Linux %s to %s, and the lab has %s; choose another revision",
		t.Name, ErrNoKernel, t.Linux.Min, t.Linux.Max, strings.Join(kernels, " and "))
}

// older compares versions of Linux as far as META has them: 6.1 and 6.12.
func older(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(x), len(y), 2) {
		m, _ := strconv.Atoi(x[i])
		n, _ := strconv.Atoi(y[i])
		if m != n {
			return m < n
		}
	}
	return false
}

// TreeID is the ID that the image of a tree has, or will have, on a base. Trees that make the same modules and programs share one.
func TreeID(base *Image, t source.Tree) string {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%q %q %q\n", base.ID, t.Kernel, t.Userland) // a hash takes all
	hashFiles(h, compileFiles, "compile")
	return treePrefix + hex.EncodeToString(h.Sum(nil))[:16]
}

// EnsureTree returns the image of a tree on a base, and compiles the tree if the store has none. A tree that does not compile is
// a *BuildError, also the next time, without another try.
func (s *Store) EnsureTree(ctx context.Context, repo *source.Repo, base *Image, t source.Tree, o Options) (*Image, error) {
	id := TreeID(base, t)
	if img, err := s.Tree(id); img != nil || err != nil {
		return img, err
	}
	p := newProgress(treePhases, o.Progress)
	unlock, err := host.Lock(ctx, s.lockFile(id), func(h host.Holder) { p.wait(h) })
	if err != nil {
		return nil, fmt.Errorf("image of OpenZFS %s: %w", t.Name, err)
	}
	defer unlock()
	if img, err := s.Tree(id); img != nil || err != nil {
		return img, err
	}
	b := s.builder(base)
	if err := b.failed(id); err != nil {
		return nil, err
	}
	_, _ = s.Clean() // as in Ensure
	r, err := s.under(t)
	if err != nil {
		return nil, err
	}
	if err := b.ensure(ctx, r, o, p); err != nil {
		return nil, err
	}
	if err := b.make(ctx, repo, t, id, p); err != nil {
		return nil, err
	}
	return s.Tree(id)
}

// Tree is an image of a tree by its ID, nil if the store has none.
func (s *Store) Tree(id string) (*Image, error) {
	dir := filepath.Join(s.dirs.Cache, "images", id)
	if !strings.HasPrefix(id, treePrefix) || !exists(dir) {
		return nil, nil
	}
	img, err := load(dir, id)
	if err != nil {
		return nil, err
	}
	touch(dir)
	return s.complete(img), nil
}

// make builds an image beside its place and moves it there.
func (b *builder) make(ctx context.Context, repo *source.Repo, t source.Tree, id string, p *progress) (err error) {
	what := whatTree(t.Name)
	defer func() {
		var built *BuildError
		if err != nil && !errors.As(err, &built) {
			err = fmt.Errorf("building the %s: %w", what, err)
		}
	}()
	begun := time.Now()
	if free, err := host.Free(b.dir); err != nil {
		return err
	} else if free < needTree {
		return fmt.Errorf("disk full: %s has %d MiB free, compiling a tree needs %d: make room, vdevil gc and vdevil image rm do", b.dir, free>>20, needTree>>20)
	}
	// make uses all CPUs: who is asked for first is compiled first, rather than two side by side at half the speed.
	turn, err := host.Lock(ctx, b.path("compile.lock"), func(h host.Holder) { p.wait(h) })
	if err != nil {
		return err
	}
	defer turn()
	at, err := b.slot(t.Setup)
	if err != nil {
		return err
	}
	log := b.path("failed", id+".log")
	if err := os.MkdirAll(filepath.Dir(log), 0o755); err != nil {
		return err
	}
	f, err := os.Create(log)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := b.store.compile(ctx, b, repo, t, at, &logFile{f: f}, p); err != nil {
		var exit interface{ ExitCode() int }
		if ctx.Err() != nil || !errors.As(err, &exit) { // the lab's own trouble is no trait of the tree
			return errors.Join(err, os.Remove(log))
		}
		return b.remember(id, newTreeError(what, log, err))
	}
	self, err := host.Self()
	if err != nil {
		return err
	}
	dir := filepath.Join(b.store.dirs.Cache, "images", buildingPrefix+"tree-"+self.String())
	if err := os.MkdirAll(filepath.Join(dir, "modules"), 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // it is gone when all went well, and otherwise Clean takes it away
	out := filepath.Join(at, "out")
	if err := errors.Join(
		join(filepath.Join(dir, initrdFile), b.base.Initrd, filepath.Join(out, "layer.cpio")),
		os.Rename(filepath.Join(out, "zfs.ko"), filepath.Join(dir, zfsFile)),
		os.Rename(filepath.Join(out, "spl.ko"), filepath.Join(dir, splFile)),
	); err != nil {
		return err
	}
	m := manifest{
		ID: id, Release: b.base.Release, Base: filepath.Base(b.base.Dir), Tree: &t, Built: begun.UTC().Truncate(time.Second), Files: map[string]file{},
	}
	for _, name := range m.names() {
		if m.Files[name], err = describe(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	m.Seconds = time.Since(begun).Seconds()
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, manifestName), append(text, '\n'), 0o644),
		os.Rename(dir, filepath.Join(b.store.dirs.Cache, "images", id)), os.Remove(log))
}

// join writes files one after the other. The kernel unpacks archives that follow each other into one root.
func join(to string, from ...string) (err error) {
	w, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	for _, name := range from {
		r, err := os.Open(name)
		if err != nil {
			return err
		}
		_, err = io.Copy(w, r)
		if err := errors.Join(err, r.Close()); err != nil {
			return err
		}
	}
	return nil
}

// failed is how a build of an image ended before, nil if none was tried or it was forgotten.
func (b *builder) failed(id string) error {
	text, err := os.ReadFile(b.path("failed", id+".json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var e remembered
	if err := json.Unmarshal(text, &e); err != nil {
		return os.Remove(b.path("failed", id+".json")) // half written: it will be tried again
	}
	return &BuildError{What: e.What, Err: errors.New(e.Err + forgets(e.What)), Tail: e.Tail, Log: e.Log, Remedy: e.Remedy}
}

// forgets says how to have what failed tried again.
func forgets(what string) string {
	return ", as before, and not tried again until the tree changes or vdevil image rm " + strings.TrimPrefix(what, whatTree("")) + " forgets it"
}

// remembered is a BuildError as JSON.
type remembered struct {
	What   string   `json:"what"`
	Err    string   `json:"error"`
	Tail   []string `json:"tail"`
	Log    string   `json:"log"`
	Remedy string   `json:"remedy,omitempty"`
}

// remember keeps a failure, and gives it back. What is wrong with this computer is not the tree's, and is tried again.
func (b *builder) remember(id string, e *BuildError) error {
	if e.Remedy != "" {
		return e
	}
	text, err := json.MarshalIndent(remembered{e.What, e.Err.Error(), e.Tail, e.Log, e.Remedy}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(b.path("failed", id+".json"), append(text, '\n'), 0o644); err != nil {
		return err
	}
	return e
}

// compilers is what a compiler, make, patch or configure says when it gives up.
var compilers = regexp.MustCompile(`(?i)^[^|]*\| (.*(: error: |: fatal error: |undefined reference|configure: error:|^ERROR: |Hunk #\d+ FAILED).*)$`)

// maxErrors is how many messages of a compiler are shown.
const maxErrors = 10

// newTreeError has what the compiler said in the place of the end of the log, which tells of make alone.
func newTreeError(what, log string, err error) *BuildError {
	e := newBuildError(what, log, err)
	var said []string
	for _, line := range tail(log, 1<<20) {
		if m := compilers.FindStringSubmatch(line); m != nil && !slices.Contains(said, m[1]) && len(said) < maxErrors {
			said = append(said, m[1])
		}
	}
	switch {
	case len(said) > 0:
		e.Tail = said
	case e.Remedy == "":
		e.Remedy = "None of it is a compiler's or configure's word about the tree, so it counts as trouble of this computer, and is tried again."
	}
	return e
}
