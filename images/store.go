package images

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vdevil/vdevil/images/source"
	"github.com/vdevil/vdevil/lab/host"
)

//go:embed build
var builderFiles embed.FS

// Store keeps images in the cache directory, under images/:
//
//	images/VERSION-KEY/             an image, renamed to this place when it was complete
//	images/linuxVERSION-KEY/        one without OpenZFS's modules, which those of trees are put on
//	images/VERSION.lock             held by who builds or removes that version
//	images/.building-VERSION-PID-…  a build under way
//	stages/VERSION-KEY/             the compiled kernel part, kept for a build that was interrupted or differs elsewhere
//	stages/VERSION-debs/            packages that an unfinished build has downloaded
//	images/tree-KEY/                an image of a tree of git, on top of one of the latter
//	builders/                       what compiles trees: see builder
//
// KEY is a hash of the recipe's row, of the builder's embedded files and of the keys. The versions of the packages are known
// only while building, so that they are no part of it and an existing image needs no network. They are in packages.txt, and
// the image's ID has a hash of that and all other files.
type Store struct {
	dirs    host.Dirs
	recipes []Recipe
	keys    keys
	work    string // where chroots are made: workRoot
	// build makes the image of a recipe in a directory, compile a tree in a slot of a builder. Tests replace them.
	build   func(ctx context.Context, j *job) error
	compile func(ctx context.Context, b *builder, repo *source.Repo, t source.Tree, at string, log *logFile, p *progress) error
}

// Options of Ensure.
type Options struct {
	// Progress, if not nil, is told of every step; not concurrently.
	Progress func(Step)
	// Mirror is the URL of a Debian mirror, "" for mmdebstrap's default. It does not change which image is meant.
	Mirror string
}

// Open opens the store in the cache directory, and makes the keys there if it is new.
func Open(ctx context.Context, dirs host.Dirs) (*Store, error) {
	recipes, err := Recipes()
	if err != nil {
		return nil, err
	}
	k, err := openKeys(ctx, filepath.Join(dirs.Cache, "keys"))
	if err != nil {
		return nil, err
	}
	return &Store{
		dirs: dirs, recipes: recipes, keys: k, work: workRoot, compile: compile,
		build: func(ctx context.Context, j *job) error { return j.run(ctx) },
	}, nil
}

// Ensure returns the image of an OpenZFS version, "" being the default one, and builds it if the store has none. It needs
// the network for a build alone. Of several callers at once, in any number of processes, one builds and the others wait.
// A damaged image is a *CorruptError, a build that failed a *BuildError; neither leaves an image behind.
func (s *Store) Ensure(ctx context.Context, version string, o Options) (*Image, error) {
	r, err := find(s.recipes, version)
	if err != nil {
		return nil, err
	}
	return s.ensure(ctx, r, imagePhases, o)
}

func (s *Store) ensure(ctx context.Context, r Recipe, phases []phase, o Options) (*Image, error) {
	if img, err := s.lookup(r); img != nil || err != nil {
		return img, err
	}
	p := newProgress(phases, o.Progress)
	unlock, err := host.Lock(ctx, s.lockFile(r.Name()), func(h host.Holder) { p.wait(h) })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.what(), err)
	}
	defer unlock()
	if img, err := s.lookup(r); img != nil || err != nil {
		return img, err
	}
	// Something that cannot be removed is in nobody's way here; `vdevil gc` will say it.
	_, _ = s.Clean()
	if err := s.make(ctx, r, o, p); err != nil {
		return nil, err
	}
	return s.lookup(r)
}

// lookup is the image of a recipe, nil if it was not built.
func (s *Store) lookup(r Recipe) (*Image, error) {
	dir := s.imageDir(r)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	img, err := load(dir, r.Name())
	if err != nil {
		return nil, err
	}
	return s.complete(img), nil
}

// complete adds what an image does not know of itself.
func (s *Store) complete(img *Image) *Image {
	img.LoginKey, img.HostKey = s.keys.login.Path, s.keys.host.Path+".pub"
	of := img
	if img.Tree != nil {
		of = img.base
	}
	img.Current = slices.ContainsFunc(s.recipes, func(r Recipe) bool { return of.Dir == s.imageDir(r) || of.Dir == s.imageDir(r.bare()) }) &&
		(img.Tree == nil || img.ID == TreeID(img.base, *img.Tree))
	return img
}

// make builds an image beside its place and moves it there.
func (s *Store) make(ctx context.Context, r Recipe, o Options, p *progress) error {
	self, err := host.Self()
	if err != nil {
		return err
	}
	dir := filepath.Join(s.dirs.Cache, "images", buildingPrefix+r.Name()+"-"+self.String())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("%s: %w", r.what(), err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // it is gone when all went well, and otherwise Clean takes it away
	stages := filepath.Join(s.dirs.Cache, "stages")
	j := &job{
		what: r.what(), recipe: r, keys: s.keys, mirror: o.Mirror, dir: dir, workRoot: s.work, process: self, progress: p,
		stage: filepath.Join(stages, r.Name()+"-"+stageKey(r)),
		debs:  filepath.Join(stages, r.Name()+"-debs"),
		log:   filepath.Join(s.dirs.State, "images", r.Name()+".log"),
	}
	if r.Bare != "" {
		j.builder = func(ctx context.Context, release string) error {
			return s.builder(&Image{Release: release, Root: filepath.Join(dir, rootFile)}).adopt(ctx, dir)
		}
	}
	begun := time.Now()
	if err := s.build(ctx, j); err != nil {
		return err
	}
	m := manifest{Recipe: r, Release: j.release, Package: j.version, Built: begun.UTC().Truncate(time.Second), Files: map[string]file{}}
	for _, name := range m.names() {
		if m.Files[name], err = describe(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("%s: %w", r.what(), err)
		}
	}
	m.ID = filepath.Base(s.imageDir(r)) + "-" + m.contents()
	m.Seconds = time.Since(begun).Seconds()
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, manifestName), append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("%s: %w", r.what(), err)
	}
	if err := os.Rename(dir, s.imageDir(r)); err != nil {
		return fmt.Errorf("%s: %w", r.what(), err)
	}
	return os.RemoveAll(j.debs)
}

// Versions are those that the lab has recipes for; the default one comes first.
func (s *Store) Versions() []string {
	var first, rest []string
	for _, r := range s.recipes {
		if r.Default {
			first = append(first, r.OpenZFS)
		} else {
			rest = append(rest, r.OpenZFS)
		}
	}
	return append(first, rest...)
}

// List are the images in the store, those of older labs included. Damaged ones come as errors, joined, beside the good.
func (s *Store) List() ([]*Image, error) {
	entries, err := os.ReadDir(filepath.Join(s.dirs.Cache, "images"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("images: %w", err)
	}
	var out []*Image
	var errs []error
	for _, e := range entries {
		version, _, ok := strings.Cut(e.Name(), "-")
		if !e.IsDir() || !ok || version == "" || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if strings.HasPrefix(e.Name(), treePrefix) {
			version = e.Name()
		}
		img, err := load(filepath.Join(s.dirs.Cache, "images", e.Name()), version)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, s.complete(img))
	}
	return out, errors.Join(errs...)
}

// Remove deletes all images of an OpenZFS version, damaged ones and those of older labs included, those of trees that are put on
// one of them, and what was kept for building it. It does not wait for somebody who builds it just now: the error is a *host.LockedError.
func (s *Store) Remove(version string) error {
	if strings.ContainsRune(version, '/') || version == "" {
		return fmt.Errorf("image rm %s: it is no name of an image, vdevil image list has them: %w", version, os.ErrNotExist)
	}
	unlock, err := host.TryLock(s.lockFile(version))
	if err != nil {
		return fmt.Errorf("image rm %s: %w", version, err)
	}
	defer unlock()
	trees, err := s.removeTrees(version)
	if err != nil {
		return err
	}
	var found []string
	for _, kind := range []string{"images", "stages"} {
		names, err := filepath.Glob(filepath.Join(s.dirs.Cache, kind, version+"-*"))
		if err != nil {
			return fmt.Errorf("image rm %s: %w", version, err)
		}
		found = append(found, names...)
	}
	if len(found) == 0 && !trees {
		return fmt.Errorf("image rm %s: there is no image of that name, vdevil image list has them: %w", version, os.ErrNotExist)
	}
	for _, path := range found {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("image rm %s: %w", version, err)
		}
	}
	return nil
}

func (s *Store) lockFile(version string) string {
	return filepath.Join(s.dirs.Cache, "images", version+".lock")
}

func (s *Store) imageDir(r Recipe) string {
	h := sha256.New()
	hashRecipe(h, r)
	hashFiles(h, builderFiles, "build")
	h.Write(s.keys.login.Public)
	h.Write(s.keys.host.Public)
	return filepath.Join(s.dirs.Cache, "images", r.Name()+"-"+hex.EncodeToString(h.Sum(nil))[:12])
}

// stageKey is a hash of all that the kernel part of an image depends on.
func stageKey(r Recipe) string {
	h := sha256.New()
	hashRecipe(h, r)
	for _, name := range []string{"build/setup.sh", "build/kernel.packages", "build/kernel.sh", "build/modules.packages", "build/modules.sh", "build/initrd"} {
		hashFiles(h, builderFiles, name)
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// hashRecipe and hashFiles ignore errors: a hash takes all that is written to it, and embedded files can be read.
func hashRecipe(h hash.Hash, r Recipe) {
	_, _ = fmt.Fprintf(h, "%q %q %q %q\n", r.OpenZFS, r.Suite, r.Base, r.Bare)
}

func hashFiles(h hash.Hash, files fs.ReadFileFS, root string) {
	_ = fs.WalkDir(files, root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := files.ReadFile(path)
		_, _ = fmt.Fprintf(h, "%q %d\n%s", path, len(text), text)
		return err
	})
}
