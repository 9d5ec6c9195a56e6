package e2e

import (
	"context"
	"slices"
	"strings"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/vdevil/vdevil/lab/machine"
)

// soon is what the lab promises, on any host: no time limit that stretches.
const soon = 2 * time.Second

// deathSpecs: a guest that dies is noticed.
func deathSpecs(b *bench) {
	Describe("a guest that dies", Label("promise"), func() {
		It("is noticed when its QEMU is killed", func(ctx SpecContext) {
			m := b.fork(ctx, b.booted(ctx), machine.ForkOptions{})
			waiting := make(chan error, 1)
			go func() { waiting <- m.Wait(ctx) }()
			Consistently(m.Done()).ShouldNot(BeClosed())

			Expect(syscall.Kill(b.qemu(m).PID, syscall.SIGKILL)).To(Succeed())
			Eventually(m.Done(), b.soon).Should(BeClosed())
			Eventually(waiting, b.soon).Should(Receive(MatchError(machine.ErrDied)))
		}, NodeTimeout(patience(time.Minute)))

		It("is noticed when its kernel panics", func(ctx SpecContext) {
			m := b.fork(ctx, b.booted(ctx), machine.ForkOptions{})
			g := b.connect(ctx, m)
			running := make(chan error, 1)
			go func() {
				_, err := g.Run(ctx, "sleep 1; echo c >/proc/sysrq-trigger; sleep infinity")
				running <- err
			}()
			printed(ctx, m, "Kernel panic - not syncing")
			Eventually(m.Done(), b.soon).Should(BeClosed())
			// Nobody waits for a command whose guest is gone.
			Eventually(running, b.soon).Should(Receive(HaveOccurred()))
		}, NodeTimeout(patience(time.Minute)))
	})
}

// qemu is the process of a machine.
func (b *bench) qemu(m machine.Machine) process {
	GinkgoHelper()
	mine := processes(func(p process) bool {
		return p.Program() == "qemu-system-x86_64" && slices.ContainsFunc(p.Args, func(arg string) bool { return strings.Contains(arg, "vdevil-"+m.ID()) })
	})
	Expect(mine).To(HaveLen(1))
	return mine[0]
}

// printed waits until the guest has printed a text since it was forked.
func printed(ctx context.Context, m machine.Machine, text string) {
	GinkgoHelper()
	own := func() string { return string(m.Console().Bytes()[m.Console().Start():]) }
	Eventually(ctx, own).WithPolling(20 * time.Millisecond).Should(ContainSubstring(text))
}
