package images

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"al.essio.dev/pkg/shellescape"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/vdevil/vdevil/lab/host"
)

// diskSize of the root disk. The file is sparse: it takes what is in it, about a quarter of this.
const diskSize = "2G"

// What a build needs, in bytes: the two chroots, and the image with its stage.
const (
	needWork  = 2500 << 20
	needCache = 1000 << 20
)

// grace is for removing 40,000 files of a chroot from a slow disk.
const grace = time.Minute

// Files that come and go in a build, kernel.tar and kernel.txt also in a stage.
const (
	kernelTar  = "kernel.tar"
	kernelList = "kernel.txt"
	guestList  = "guest.txt"
	gateFile   = "gate"
)

// job is the build of one image, or of a builder.
type job struct {
	what     string // for people
	recipe   Recipe
	keys     keys
	mirror   string
	dir      string // where the image's files are made
	workRoot string // where the directory of the chroots is made
	stage    string // where the kernel part is kept
	debs     string // where downloaded packages are kept until the build has succeeded
	log      string
	process  host.Process
	progress *progress

	// builder is given what compiles trees, which is made beside an image that they are put on; nil for other images.
	builder func(ctx context.Context, release string) error

	work string // parent of the chroots, in workRoot
	out  *logFile

	release, version string // of the kernel and of zfs-dkms, known at the end
}

// run builds the kernel part and the guest's file system at the same time; the latter waits at its end for the former.
func (j *job) run(ctx context.Context) error { return j.logged(ctx, j.image) }

// logged does a part of a build that makes chroots and writes to the log.
func (j *job) logged(ctx context.Context, do func(context.Context) error) error {
	err := j.prepare()
	if err == nil {
		err = do(ctx)
		j.out.f.Close()
		err = errors.Join(err, removeTree(j.work))
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("building the %s: %w", j.what, err)
	}
	return newBuildError(j.what, j.log, err)
}

func (j *job) image(ctx context.Context) (err error) {
	if err := openDir(j.dir); err != nil {
		return err
	}
	gate, err := newGate(filepath.Join(j.dir, "guest", gateFile))
	if err != nil {
		return err
	}
	defer gate.Close()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := j.kernel(gctx); err != nil {
			return err // and the gate stays shut: the guest's chroot is ended by the context
		}
		if err := os.Link(filepath.Join(j.stage, kernelTar), filepath.Join(j.dir, "guest", kernelTar)); err != nil {
			return err
		}
		_, err := gate.WriteString("open\n")
		return err
	})
	g.Go(func() error { return j.guest(gctx) })
	if j.builder != nil {
		g.Go(func() error { return j.compiler(gctx, "linux-headers-cloud-amd64") })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := j.collect(); err != nil || j.builder == nil {
		return err
	}
	return j.builder(ctx, j.release)
}

// newGate makes a FIFO from which the guest's script reads a line when it gets there. Open for reading too, it waits for
// nobody, and keeps the line until then.
func newGate(name string) (*os.File, error) {
	if err := os.Mkdir(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	if err := unix.Mkfifo(name, 0o644); err != nil {
		return nil, fmt.Errorf("mkfifo %s: %w", name, err)
	}
	return os.OpenFile(name, os.O_RDWR, 0)
}

func (j *job) prepare() error {
	for dir, need := range map[string]int64{j.workRoot: needWork, j.dir: needCache} {
		free, err := host.Free(dir)
		if err != nil {
			return err
		}
		if free < need {
			return fmt.Errorf("disk full: %s has %d MiB free, a build needs %d", dir, free>>20, need>>20)
		}
	}
	for _, program := range []string{"mmdebstrap", "mkfs.ext4"} {
		if _, err := host.Program(program); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(j.log), 0o700); err != nil {
		return err
	}
	f, err := os.Create(j.log)
	if err != nil {
		return err
	}
	j.out = &logFile{f: f}
	if j.work, err = os.MkdirTemp(j.workRoot, workPrefix()+j.process.String()+"-"); err != nil {
		f.Close()
		return err
	}
	// The users of an unprivileged chroot must get through to it.
	return os.Chmod(j.work, 0o711)
}

// kernel makes the stage, unless an earlier build has.
func (j *job) kernel(ctx context.Context) error {
	if _, err := os.Stat(j.stage); err == nil {
		return nil
	}
	dir := filepath.Join(j.dir, "stage")
	if err := outputs(dir, append(j.staged(), kernelTar, kernelList)...); err != nil {
		return err
	}
	phase, packages, modules := "compiler", []string{"build/kernel.packages", "build/modules.packages"}, text(builderFiles, "build/modules.sh")
	if j.recipe.Bare != "" {
		phase, packages, modules = "tools", packages[:1], ""
	}
	c := j.chroot("kernel", phase)
	c.env = append(c.env, "VDEVIL_INIT="+text(builderFiles, "build/initrd/init"), "VDEVIL_MODULES="+modules,
		"VDEVIL_HOOK="+text(builderFiles, "build/kernel.sh"))
	c.argv = append(c.argv, include(builderFiles, packages...), hook)
	if err := c.runIn(ctx, j); err != nil {
		return err
	}
	if err := seal(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(j.stage), 0o700); err != nil {
		return err
	}
	return os.Rename(dir, j.stage)
}

// staged are the names, in the stage, of the image's files that come from there.
func (j *job) staged() (names []string) {
	for _, name := range j.recipe.files() {
		if name != rootFile && name != packagesFile {
			names = append(names, path.Base(name))
		}
	}
	return names
}

// guest makes the root disk.
func (j *job) guest(ctx context.Context) error {
	tarball := filepath.Join(j.dir, "rootfs.tar")
	if err := writeRootFS(tarball, j.keys); err != nil {
		return err
	}
	dir := filepath.Join(j.dir, "guest")
	if err := outputs(dir, rootFile, guestList); err != nil {
		return err
	}
	c := j.chroot("guest", "base")
	c.env = append(c.env, "VDEVIL_DISK="+diskSize, "VDEVIL_HOOK="+text(builderFiles, "build/guest.sh"))
	c.argv = append(c.argv, include(builderFiles, "build/guest.packages"), "--customize-hook=tar-in "+shellescape.Quote(tarball)+" /", hook)
	if err := c.runIn(ctx, j); err != nil {
		return err
	}
	return seal(dir)
}

// chroot is an mmdebstrap run as far as both are alike.
func (j *job) chroot(name, first string) *chroot {
	mode := "unshare"
	if os.Getuid() == 0 {
		mode = "root"
	}
	return &chroot{
		name: name, first: first, progress: j.progress, log: j.out, grace: grace,
		argv: []string{
			"mmdebstrap", "--mode=" + mode, "--variant=apt", "--format=null", "--components=main,contrib",
			// Whatever is lost when the power fails is built again, so that nothing has to be on the disk at once.
			"--dpkgopt=force-unsafe-io",
			"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*",
			"--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-exclude=/usr/share/info/*",
			`--aptopt=Acquire::Languages "none"`, `--aptopt=Acquire::Retries "3"`,
			// With a terminal of its own dpkg would leave the process group, and a signal to the group would miss it.
			`--aptopt=Dpkg::Use-Pty "false"`,
			// Keep the packages, for the hooks that put them away; the tree is thrown away and needs no cleaning.
			"--skip=essential/unlink,cleanup/apt,cleanup/mmdebstrap,cleanup/reproducible,cleanup/run,cleanup/tmp",
			`--setup-hook=eval "$VDEVIL_SETUP"`,
		},
		env: append(os.Environ(),
			"VDEVIL_SETUP="+text(builderFiles, "build/setup.sh"), "PATH="+host.SearchPath(), "TMPDIR="+j.work, "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive",
			"VDEVIL_OPENZFS="+j.recipe.OpenZFS, "VDEVIL_SUITE="+j.recipe.Suite, "VDEVIL_BASE="+j.recipe.Base),
	}
}

// runIn completes the arguments and runs mmdebstrap: packages that an earlier try has downloaded go in before, those that
// this one downloads are put away when the first of our scripts begins.
func (c *chroot) runIn(ctx context.Context, j *job) error {
	debs := filepath.Join(j.debs, c.name)
	if err := os.MkdirAll(debs, 0o755); err != nil {
		return err
	}
	dir, err := os.Open(j.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	c.dir = dir
	const archives = "/var/cache/apt/archives"
	var argv []string
	for _, arg := range c.argv {
		if strings.HasPrefix(arg, "--customize-hook=") && debs != "" {
			argv = append(argv,
				`--customize-hook=rm -rf "$1`+archives+`/partial" "$1`+archives+`/lock"`,
				"--customize-hook=sync-out "+archives+" "+shellescape.Quote(debs))
			debs = ""
		}
		argv = append(argv, arg)
	}
	argv = append(argv, "--setup-hook=sync-in "+shellescape.Quote(filepath.Join(j.debs, c.name))+" "+archives, j.recipe.Base, "/dev/null")
	if j.mirror != "" {
		argv = append(argv, j.mirror)
	}
	c.argv = argv
	return c.run(ctx)
}

// collect puts the parts together.
func (j *job) collect() error {
	kernel, err := os.ReadFile(filepath.Join(j.stage, kernelList))
	if err != nil {
		return err
	}
	guest, err := os.ReadFile(filepath.Join(j.dir, "guest", guestList))
	if err != nil {
		return err
	}
	lines := strings.SplitN(string(kernel), "\n", 3)
	if len(lines) != 3 {
		return fmt.Errorf("%s is incomplete", kernelList)
	}
	j.release, j.version = lines[0], lines[1]
	packages := "# the guest\n" + string(guest) + "# what its kernel and modules were made with\n" + lines[2]
	if err := os.WriteFile(filepath.Join(j.dir, packagesFile), []byte(packages), 0o644); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(j.dir, "guest", rootFile), filepath.Join(j.dir, rootFile)); err != nil {
		return err
	}
	for _, name := range j.recipe.files() {
		if !slices.Contains(j.staged(), path.Base(name)) {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(j.dir, name)), 0o755); err != nil {
			return err
		}
		// The stage keeps its copy at no cost: neither is ever written again.
		if err := os.Link(filepath.Join(j.stage, path.Base(name)), filepath.Join(j.dir, name)); err != nil {
			return err
		}
	}
	for _, name := range []string{"guest", "rootfs.tar"} {
		if err := os.RemoveAll(filepath.Join(j.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// outputs makes empty files for scripts to fill, and their directory if need be. The scripts reach them through the open
// directory above alone: they run as a user who may not enter the others on the way. For the same reason the files are
// writable by all while they are made; the directories further above, closed to others, protect them.
func outputs(dir string, names ...string) error {
	if err := openDir(dir); err != nil {
		return err
	}
	for _, name := range names {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if err := errors.Join(f.Chmod(0o666), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// openDir makes a directory that all may enter, whatever the umask.
func openDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}

// seal ends the writing of what outputs made. An empty file is one that a script forgot.
func seal(dir string) error {
	if err := os.Remove(filepath.Join(dir, gateFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if st, err := os.Stat(path); err != nil || st.Size() == 0 {
			return fmt.Errorf("the build left %s empty", path)
		}
		if err := os.Chmod(path, 0o444); err != nil {
			return err
		}
	}
	return nil
}

// hook runs our script. It comes in a variable, since mmdebstrap's root could not read it from a file in a home directory,
// and as an argument it would be printed with every error.
const hook = `--customize-hook=eval "$VDEVIL_HOOK"`

// text is that of an embedded file.
func text(files embed.FS, name string) string {
	b, err := files.ReadFile(name)
	if err != nil {
		panic(err) // it is embedded
	}
	return string(b)
}

// include is mmdebstrap's option for lists of packages, one a line, with comments.
func include(files embed.FS, lists ...string) string {
	var names []string
	for _, list := range lists {
		for line := range strings.Lines(text(files, list)) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				names = append(names, line)
			}
		}
	}
	return "--include=" + strings.Join(names, ",")
}
