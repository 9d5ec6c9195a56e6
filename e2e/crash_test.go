package e2e

import (
	"encoding/json"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gexec"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

// crashSpecs: what fsync has promised is there after a power cut at any moment, and an interrupted study leaves nothing.
func crashSpecs(b *bench) {
	var cost Labels
	if b.driver != lab.Drivers()[0] { // the other spec has the driver do all that a study asks of it
		cost = Label("cost:" + string(scenarios.Nightly))
	}
	Describe("crash states", Label("promise"), func() {
		It("keep what fsync has promised", cost, func(ctx SpecContext) {
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

		It("are cleared away when a study is interrupted, which goes on from what was judged, and one is judged again", func(ctx SpecContext) {
			h := b.furnished()
			session := h.start("crash", "crash-storm", "--states", "4", "--json", "--name", "cut")
			Eventually(ctx, func(g Gomega) {
				runs(session)
				g.Expect(string(session.Err.Contents())).To(ContainSubstring(" of 4 states, "))
			}).Should(Succeed())
			interrupt(session)
			Eventually(ctx, session).Should(gexec.Exit(trouble))
			Expect(family(session)).To(BeEmpty())
			Expect(h.owned(session.Command.Process.Pid)).To(BeEmpty())
			var r report.Study
			Expect(json.Unmarshal(session.Out.Contents(), &r)).To(Succeed())
			Expect(r.Planned).To(Equal(4))
			Expect(len(r.States)).To(And(BeNumerically(">", 0), BeNumerically("<", 4)))

			session = h.start("resume", "cut", "--json")
			Eventually(ctx, session).Should(gexec.Exit(held))
			var whole report.Study
			Expect(json.Unmarshal(session.Out.Contents(), &whole)).To(Succeed())
			Expect(whole.States).To(HaveLen(4))
			Expect(whole.Bytes).To(Equal(r.Bytes), "it has another record")
			for _, before := range r.States {
				Expect(whole.States[before.Number-1].Started).To(Equal(before.Started), "state %d was judged again", before.Number)
			}

			session = h.start("repeat", "cut/crash-storm/storm/3", "--json")
			Eventually(ctx, session).Should(gexec.Exit(held))
			Expect(h.owned(session.Command.Process.Pid)).To(BeEmpty())
		}, NodeTimeout(patience(3*time.Minute)))
	})
}
