package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gexec"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/host"
)

// errorSpecs: what goes wrong on the user's side is named, with what to do.
func errorSpecs(b *bench) {
	Describe("a clear error", Label("promise"), func() {
		It("tells of a disk too full for an image", func(ctx SpecContext) {
			h := b.home()
			cache := h.dirs().Cache
			s := start(with(mounted("tmpfs", "size=64m,mode=700", cache), h.command("image", "build", "--yes")))
			text := failed(ctx, s)
			Expect(text).To(MatchRegexp("disk full: %s.* has 6. MiB free, a build needs [0-9]+", cache))
			Expect(text).To(ContainSubstring("free space"))
		}, NodeTimeout(patience(0)))

		It("tells of a disk too full for a trial", func(ctx SpecContext) {
			b.prepared(ctx, "legacy-dedup-gang")
			h := b.furnished()
			machines := lab.MachinesDir(h.dirs())
			Expect(os.Mkdir(machines, 0o700)).To(Succeed())
			run := h.command("run", "legacy-dedup-gang", "--only", "no-ganging/1")
			text := failed(ctx, start(with(mounted("tmpfs", "size=1m,mode=700", machines), run)))
			Expect(text).To(And(ContainSubstring("waiting with more trials: "), MatchRegexp("free on the file system of %s, what begins may need 2.0 GiB: make room", machines)))
		}, NodeTimeout(patience(0)))

		It("tells of a missing package", func(ctx SpecContext) {
			h := b.home()
			program, err := host.Program("qemu-img")
			Expect(err).NotTo(HaveOccurred())
			program, err = filepath.EvalSymlinks(program)
			Expect(err).NotTo(HaveOccurred())
			remedy := "--yes"
			if os.Getuid() != 0 { // sudo does not work where the program is hidden
				remedy = "sudo apt-get update"
			}
			s := start(with(hidden(program), h.command("run")))
			Expect(failed(ctx, s)).To(SatisfyAll(
				ContainSubstring("qemu-utils"), ContainSubstring("makes overlays of the guests' root disk"),
				ContainSubstring(remedy), ContainSubstring("apt-get install --no-install-recommends qemu-utils"),
				Not(ContainSubstring("mmdebstrap")),
			))
		}, NodeTimeout(patience(0)))

		It("tells of a damaged image", func(ctx SpecContext) {
			img := b.image(ctx)
			h := b.home()
			root := h.damage(img, b.dirs)
			Expect(failed(ctx, h.start("image", "build"))).To(SatisfyAll(
				ContainSubstring(root), MatchRegexp("has [0-9]+ bytes, not [0-9]+"),
				ContainSubstring("vdevil image rm "+img.OpenZFS),
			))
			remedy := h.start("image", "rm", img.OpenZFS)
			Eventually(ctx, remedy).Should(gexec.Exit(held))
			Expect(root).NotTo(BeAnExistingFile())
			Expect(img.Root).To(BeARegularFile()) // not through the links
		}, NodeTimeout(patience(0)))

		It("tells of an occupied lock, and who holds it", func(ctx SpecContext) {
			h := b.home()
			recipe := defaultRecipe()
			lock := filepath.Join(h.dirs().Cache, "images", recipe.OpenZFS+".lock")
			unlock, err := host.TryLock(lock)
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(unlock)
			holder := fmt.Sprintf("process %d (%s", os.Getpid(), os.Args[0])

			By("waiting for it, until interrupted")
			build := h.start("image", "build")
			stderr := func() string { return string(build.Err.Contents()) }
			Eventually(ctx, stderr).Should(ContainSubstring("waiting for " + holder))
			interrupt(build)
			Expect(failed(ctx, build)).To(ContainSubstring("ended early"))

			By("not waiting for it")
			Expect(failed(ctx, h.start("image", "rm", recipe.OpenZFS))).To(SatisfyAll(
				ContainSubstring(holder), ContainSubstring(lock), ContainSubstring("kill %d", os.Getpid()),
			))
		}, NodeTimeout(patience(0)))
	})
}

// failed waits for a command that meets trouble, and gives what it said.
func failed(ctx context.Context, s *gexec.Session) string {
	GinkgoHelper()
	Eventually(ctx, s).Should(gexec.Exit(trouble))
	return string(s.Err.Contents()) + string(s.Out.Contents())
}

// mounted and hidden are shell commands: a file system of its own in place of a directory, a device in place of a program.
func mounted(fs, options, dir string) string {
	return fmt.Sprintf("mount -t %s -o %s none '%s'", fs, options, dir)
}

func hidden(program string) string { return fmt.Sprintf("mount --bind /dev/null '%s'", program) }

// with runs a command in a mount namespace where another command has been done before, so that nobody else sees it. An
// ordinary user needs a user namespace for it and stays who he is.
func with(before string, cmd *exec.Cmd) *exec.Cmd {
	args := []string{"--mount"}
	if os.Getuid() != 0 {
		args = append(args, "--map-current-user", "--keep-caps")
	}
	args = append(args, "sh", "-c", before+` && exec "$@"`, "sh")
	inside := exec.Command("unshare", append(args, cmd.Args...)...)
	inside.Env = cmd.Env
	return inside
}

// damage puts an image into the store of this home that is whole but for the end of its root disk, whose path it returns.
func (h home) damage(img *images.Image, from host.Dirs) (root string) {
	GinkgoHelper()
	to := h.dirs().Cache
	// The store looks for images that were made with its own keys.
	Expect(os.Symlink(filepath.Join(from.Cache, "keys"), filepath.Join(to, "keys"))).To(Succeed())
	dir := filepath.Join(to, "images", filepath.Base(img.Dir))
	Expect(os.MkdirAll(dir, 0o700)).To(Succeed())
	entries, err := os.ReadDir(img.Dir)
	Expect(err).NotTo(HaveOccurred())
	for _, e := range entries {
		Expect(os.Symlink(filepath.Join(img.Dir, e.Name()), filepath.Join(dir, e.Name()))).To(Succeed())
	}
	info, err := os.Stat(img.Root)
	Expect(err).NotTo(HaveOccurred())
	root = filepath.Join(dir, filepath.Base(img.Root))
	Expect(os.Remove(root)).To(Succeed())
	f, err := os.Create(root)
	Expect(err).NotTo(HaveOccurred())
	Expect(f.Truncate(info.Size() - 1)).To(Succeed())
	Expect(f.Close()).To(Succeed())
	return root
}
