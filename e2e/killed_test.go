package e2e

import (
	"os"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gexec"

	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/scenarios"
)

// killedLabSpecs: a lab that is killed takes its machines along, and what it leaves on disk can be told from what is in
// use.
func killedLabSpecs(b *bench) {
	Describe("a killed lab", Label("promise"), func() {
		It("leaves no QEMU; gc removes the rest and nothing else; the next run works", func(ctx SpecContext) {
			cp := b.prepared(ctx, "snapshot-storm")
			h := b.furnished()

			By("starting four forks, beside a fork of another lab in the same directories")
			neighbour := b.open(ctx, h.dirs(), 1)
			survivor, err := neighbour.Driver().Fork(ctx, cp, machine.ForkOptions{Paused: true})
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(survivor.Close)
			run := h.start("run", "snapshot-storm", "--trials", "4", "--jobs", "4")
			pid := run.Command.Process.Pid
			Eventually(ctx, func(g Gomega) {
				runs(run)
				g.Expect(strings.Count(string(run.Err.Contents()), ": started")).To(Equal(4))
				// Others may be restored ahead.
				atWork := slices.DeleteFunc(qemus(pid), func(p process) bool { return !p.busy() })
				g.Expect(len(atWork)).To(BeNumerically(">=", 4))
			}).Should(Succeed())
			machines := family(run)

			By("kill -9")
			run.Kill()
			Eventually(func() []process { return alive(machines) }, soon, 50*time.Millisecond).Should(BeEmpty())
			Eventually(run).Should(gexec.Exit())
			Expect(family(run)).To(BeEmpty())

			By("gc")
			left, used := h.owned(pid), h.owned(os.Getpid())
			Expect(left).NotTo(BeEmpty())
			Expect(used).NotTo(BeEmpty())
			gc := h.start("gc")
			Eventually(ctx, gc).Should(gexec.Exit(held))
			for _, dir := range left {
				Expect(string(gc.Out.Contents())).To(ContainSubstring("removed " + dir + "\n"))
			}
			Expect(h.owned(pid)).To(BeEmpty())
			Expect(h.owned(os.Getpid())).To(Equal(used))
			Expect(survivor.Done()).NotTo(BeClosed())
			Expect(survivor.Resume(ctx)).To(Succeed())

			By("running again")
			again := h.start("run", "legacy-dedup-gang", "--only", "two-references-ganged/1")
			Eventually(ctx, again).Should(gexec.Exit(held))
			Expect(string(again.Out.Contents())).To(ContainSubstring(reported))
		}, NodeTimeout(patience(2*time.Minute)))
	})
}

// prepared is the checkpoint that the trials of a scenario's first arm are forked from.
func (b *bench) prepared(ctx SpecContext, name string) *machine.Checkpoint {
	GinkgoHelper()
	found, err := scenarios.Find([]string{name})
	Expect(err).NotTo(HaveOccurred())
	resolved, err := found[0].ForArm(found[0].Arms[0].Name)
	Expect(err).NotTo(HaveOccurred())
	cp, err := b.lab.Checkpoints().Prepared(ctx, b.image(ctx), resolved)
	Expect(err).NotTo(HaveOccurred())
	return cp
}
