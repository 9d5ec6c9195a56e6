package e2e

import (
	"encoding/json"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gexec"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/trial"
)

// crashSpecs: what fsync has promised is there after a power cut at any moment, and an interrupted study leaves nothing.
func crashSpecs(b *bench) {
	Describe("crash states", Label("promise"), func() {
		It("keep what fsync has promised", func(ctx SpecContext) {
			h := b.furnished()
			session := h.start("crash", "crash-storm", "--states", "8", "--promises", "5s", "--json")
			Eventually(ctx, session).Should(gexec.Exit(held))
			var r report.Study
			Expect(json.Unmarshal(session.Out.Contents(), &r)).To(Succeed())
			Expect(r.States).To(HaveLen(8))
			Expect(r.Promised).To(BeNumerically(">", 0))
			Expect(r.Flushes).To(BeNumerically(">", 4))
			kinds := map[string]int{}
			for _, v := range r.States {
				kinds[v.State.Kind]++
				Expect(v.Outcome).To(Equal(trial.Masked), "%+v", v)
				Expect(report.Lost(v)).To(BeFalse(), "%+v", v)
			}
			Expect(kinds).To(HaveLen(3))
		}, NodeTimeout(patience(3*time.Minute)))

		It("are cleared away when a study is interrupted, and those that were judged are told", func(ctx SpecContext) {
			h := b.furnished()
			session := h.start("crash", "crash-storm", "--states", "50", "--json")
			Eventually(ctx, func(g Gomega) {
				runs(session)
				g.Expect(string(session.Err.Contents())).To(ContainSubstring(" of 50 states, "))
			}).Should(Succeed())
			interrupt(session)
			Eventually(ctx, session).Should(gexec.Exit(trouble))
			Expect(family(session)).To(BeEmpty())
			Expect(h.owned(session.Command.Process.Pid)).To(BeEmpty())
			var r report.Study
			Expect(json.Unmarshal(session.Out.Contents(), &r)).To(Succeed())
			Expect(r.Planned).To(Equal(50))
			Expect(len(r.States)).To(And(BeNumerically(">", 0), BeNumerically("<", 50)))
		}, NodeTimeout(patience(3*time.Minute)))
	})
}
