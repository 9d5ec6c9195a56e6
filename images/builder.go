package images

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vdevil/vdevil/images/source"
	"github.com/vdevil/vdevil/lab/host"
)

//go:embed compile
var compileFiles embed.FS

// What a builder keeps, so that its size is bounded: trees that were compiled, with their objects, and programs.
const (
	maxTrees    = 4  // about 1 GiB each
	maxPrograms = 12 // about 30 MiB each
)

// needTree is what compiling a tree needs at least, in bytes.
const needTree = 3000 << 20

// builder compiles trees for the kernel of an image. It is a Debian system in a directory, and what it has compiled:
//
//	builders/KEY/root/         the system: compiler, autotools, headers and modules of the kernel
//	builders/KEY/ccache/       objects by what they were made of
//	builders/KEY/trees/N/      a tree with its objects: src, configured, programs, out
//	builders/KEY/programs/HASH/  programs by source.Tree.Userland
//	builders/KEY/failed/ID.json  a build that failed, and its log
//
// KEY is the kernel's release and a hash of what the system is made of.
type builder struct {
	store *Store
	base  *Image
	dir   string
}

func (s *Store) builder(base *Image) *builder {
	h := sha256.New()
	hashFiles(h, compileFiles, "compile/builder.packages")
	hashFiles(h, compileFiles, "compile/builder.sh")
	key := base.Release + "-" + hex.EncodeToString(h.Sum(nil))[:8]
	return &builder{s, base, filepath.Join(s.dirs.Cache, "builders", key)}
}

func (b *builder) path(elements ...string) string {
	return filepath.Join(append([]string{b.dir}, elements...)...)
}

// ensure makes the system, once.
func (b *builder) ensure(ctx context.Context, r Recipe, o Options, p *progress) error {
	if exists(b.path(systemDir)) {
		return nil
	}
	unlock, err := host.Lock(ctx, b.path("lock"), func(h host.Holder) { p.wait(h) })
	if err != nil {
		return fmt.Errorf("builder of OpenZFS for Linux %s: %w", b.base.Release, err)
	}
	defer unlock()
	if exists(b.path(systemDir)) {
		return nil
	}
	self, err := host.Self()
	if err != nil {
		return err
	}
	dir := filepath.Join(b.store.dirs.Cache, "images", buildingPrefix+"builder-"+self.String())
	defer removeTree(dir) //nolint:errcheck // Clean takes away what is left
	j := &job{
		what: "builder of OpenZFS for Linux " + b.base.Release, recipe: r, keys: b.store.keys, mirror: o.Mirror, dir: dir,
		workRoot: b.store.work, process: self, progress: p,
		debs: filepath.Join(b.store.dirs.Cache, "stages", "builder-debs"),
		log:  filepath.Join(b.store.dirs.State, "images", "builder.log"),
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := j.logged(ctx, func(ctx context.Context) error {
		if err := j.compiler(ctx, "linux-headers-"+b.base.Release); err != nil {
			return err
		}
		return b.settle(ctx, dir)
	}); err != nil {
		return err
	}
	return os.RemoveAll(j.debs)
}

// adopt puts in its place what compiler has made beside the base, whose headers are those of the newest kernel, too. Where the kernel has
// changed meanwhile, or there is a builder, it is dropped.
func (b *builder) adopt(ctx context.Context, dir string) error {
	root := filepath.Join(dir, systemDir)
	defer removeTree(root) //nolint:errcheck // it is gone when all went well, and otherwise Clean takes it away
	if !exists(filepath.Join(root, modulesOf(b.base.Release))) {
		return nil
	}
	unlock, err := host.Lock(ctx, b.path("lock"), func(host.Holder) {})
	if err != nil {
		return fmt.Errorf("builder of OpenZFS for Linux %s: %w", b.base.Release, err)
	}
	defer unlock()
	if exists(b.path(systemDir)) {
		return nil
	}
	return b.settle(ctx, dir)
}

// systemDir is the system of a builder.
const systemDir = "root"

func modulesOf(release string) string { return filepath.Join("/usr/lib/modules", release) }

// compiler makes the system of a builder, in systemDir, but for the kernel's own modules.
func (j *job) compiler(ctx context.Context, headers string) error {
	const archive = "root.tar"
	if err := outputs(filepath.Join(j.dir, "builder"), archive); err != nil {
		return err
	}
	defer os.RemoveAll(filepath.Join(j.dir, "builder")) //nolint:errcheck // as above
	c := j.chroot("builder", "builder")
	c.env = append(c.env, "VDEVIL_HOOK="+text(compileFiles, "compile/builder.sh"))
	c.argv = append(c.argv, include(compileFiles, "compile/builder.packages")+","+headers, hook)
	if err := c.runIn(ctx, j); err != nil {
		return err
	}
	root := filepath.Join(j.dir, systemDir)
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	return runProgram(ctx, "tar", "-C", root, "--no-same-owner", "-xf", filepath.Join(j.dir, "builder", archive))
}

// settle adds the kernel's own modules, from the base's root disk, to what compiler has made in dir, and moves it to its place. Of these
// modules depmod needs all. What the headers have put there stays.
func (b *builder) settle(ctx context.Context, dir string) error {
	of, modules := modulesOf(b.base.Release), filepath.Join(dir, "kernel")
	if err := os.Mkdir(modules, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(modules) //nolint:errcheck // as above
	if err := runProgram(ctx, "debugfs", "-R", "rdump "+of+" "+modules, b.base.Root); err != nil {
		return err
	}
	root, from := filepath.Join(dir, systemDir), filepath.Join(modules, b.base.Release)
	entries, err := os.ReadDir(from)
	if err != nil {
		return fmt.Errorf("%s has no modules: %w", b.base.Root, err)
	}
	for _, e := range entries {
		if e.Name() == "build" || e.Name() == "source" {
			continue
		}
		if err := os.Rename(filepath.Join(from, e.Name()), filepath.Join(root, of, e.Name())); err != nil {
			return err
		}
	}
	return os.Rename(root, b.path(systemDir))
}

func runProgram(ctx context.Context, name string, args ...string) error {
	program, err := host.Program(name)
	if err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

// slot takes a tree's directory: one that was configured alike, one where nothing was yet, or the one used longest ago. But for the first it
// is emptied: what configure and make left of another tree would be taken for this one's, Makefiles of directories that have
// none any more, modules that are called otherwise.
func (b *builder) slot(setup string) (dir string, err error) {
	var old, fresh []string
	for n := range maxTrees {
		dir := b.path("trees", strconv.Itoa(n))
		switch text, err := os.ReadFile(filepath.Join(dir, "configured")); {
		case err != nil:
			fresh = append(fresh, dir)
		case strings.HasPrefix(string(text), setup+" "):
			return dir, nil
		default:
			old = append(old, dir)
		}
	}
	slices.SortFunc(old, func(x, y string) int { return used(x).Compare(used(y)) })
	dir = slices.Concat(fresh, old)[0]
	if err := removeTree(dir); err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

// used is when something was last used: the time of its directory, which touch sets.
func used(dir string) time.Time {
	st, err := os.Stat(dir)
	if err != nil {
		return time.Time{}
	}
	return st.ModTime()
}

func touch(dir string) { now := time.Now(); _ = os.Chtimes(dir, now, now) }

// compile makes modules and programs of a tree in a slot. What is in out afterwards is moved away by the caller.
func compile(ctx context.Context, b *builder, repo *source.Repo, t source.Tree, at string, log *logFile, p *progress) error {
	p.begin("checkout")
	if err := repo.Checkout(ctx, t, filepath.Join(at, "src")); err != nil {
		return err
	}
	p.end("checkout")
	kept := b.path("programs", t.Userland)
	programs := filepath.Join(at, "programs")
	if err := os.RemoveAll(programs); err != nil {
		return err
	}
	if exists(kept) {
		touch(kept)
		if err := linkAll(kept, programs); err != nil {
			return err
		}
	}
	c := &chroot{
		name: "compile", first: "enter", progress: p, log: log, grace: grace,
		argv: []string{"/bin/sh", "-c", text(compileFiles, "compile/enter.sh"), "enter", b.path("root"), at, b.path("ccache"), b.base.Release},
		env: append(os.Environ(), "PATH="+host.SearchPath(), "LC_ALL=C.UTF-8", "VDEVIL_SETUP="+t.Setup, "VDEVIL_CONFIGURE="+t.Configure,
			"VDEVIL_COMPILE="+text(compileFiles, "compile/compile.sh")),
	}
	if os.Getuid() != 0 {
		c.argv = append([]string{"unshare", "--user", "--map-root-user", "--mount"}, c.argv...)
	}
	if err := os.MkdirAll(b.path("ccache"), 0o755); err != nil {
		return err
	}
	if err := c.run(ctx); err != nil {
		return err
	}
	touch(at)
	touch(b.dir)
	if exists(programs) && !exists(kept) {
		return b.keep(programs, kept)
	}
	return nil
}

// keep puts programs where the next tree with the same userland finds them, and drops those used longest ago.
func (b *builder) keep(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil && !exists(to) { // somebody else may have been first
		return err
	}
	all, err := filepath.Glob(b.path("programs", "*"))
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(x, y string) int { return used(y).Compare(used(x)) })
	for _, dir := range all[min(len(all), maxPrograms):] {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// linkAll makes a directory with the files of another one.
func linkAll(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.Link(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
