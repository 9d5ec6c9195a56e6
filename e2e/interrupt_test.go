package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gexec"

	"github.com/vdevil/vdevil/scenarios"
)

// interruptSpecs: Ctrl-C in the longest work of all leaves the cache as good as before, and nothing else behind.
func interruptSpecs(b *bench) {
	DescribeTableSubtree("Ctrl-C in the build of an image", Label("promise"), func(during string) {
		It("leaves no half image, no mount and no process", func(ctx SpecContext) {
			h, version := b.home(), defaultRecipe().OpenZFS
			b.lendStages(h, version)
			build := h.start("image", "build", version, "--yes")
			Eventually(ctx, func(g Gomega) {
				runs(build)
				g.Expect(string(build.Err.Contents())).To(ContainSubstring("step "))
				g.Expect(family(build)).To(ContainElement(HaveField("Program()", during)))
			}).Should(Succeed())

			interrupt(build)
			Eventually(ctx, build).Should(gexec.Exit(trouble))
			Expect(family(build)).To(BeEmpty())
			self := fmt.Sprintf("-%d-", build.Command.Process.Pid)
			Expect(mounts()).NotTo(ContainElement(Or(ContainSubstring(h.dir), ContainSubstring(self))))
			Expect(filepath.Glob("/var/tmp/vdevil-build-*" + self + "*")).To(BeEmpty())
			Expect(filepath.Glob(filepath.Join(h.dirs().Cache, "images", ".building-*"))).To(BeEmpty())

			list := h.start("image", "list", "--json")
			Eventually(ctx, list).Should(gexec.Exit(held))
			Expect(string(list.Out.Contents())).To(And(ContainSubstring(version), Not(ContainSubstring(h.dir))))
			Expect(os.RemoveAll(h.dir)).To(Succeed()) // nothing in it is busy
		}, NodeTimeout(patience(0)))
	},
		// There are mounts then, and processes in the new root.
		Entry("while packages are installed", "dpkg"),
		// The longest way to get there, and the tree is mounted once more.
		Entry("while the root disk is made", Label("cost:"+string(scenarios.Nightly)), "mkfs.ext4"),
	)
}

// lendStages gives a home what has been compiled for an image, if it has been.
func (b *bench) lendStages(h home, version string) {
	GinkgoHelper()
	stages := filepath.Join(h.dirs().Cache, "stages")
	Expect(os.Mkdir(stages, 0o700)).To(Succeed())
	made, err := filepath.Glob(filepath.Join(b.dirs.Cache, "stages", version+"-*"))
	Expect(err).NotTo(HaveOccurred())
	for _, path := range made {
		if !strings.HasSuffix(path, "-debs") { // which are written to
			Expect(os.Symlink(path, filepath.Join(stages, filepath.Base(path)))).To(Succeed())
		}
	}
}

// mounts are the mount points that this process sees.
func mounts() (points []string) {
	GinkgoHelper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	Expect(err).NotTo(HaveOccurred())
	for line := range strings.Lines(string(table)) {
		points = append(points, strings.Fields(line)[4]) // proc(5): the mount point is the fifth field
	}
	return points
}
