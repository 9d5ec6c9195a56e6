package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gexec"

	"github.com/vdevil/vdevil/lab/report/bitmap"
	"github.com/vdevil/vdevil/lab/trial"
)

// atlasSpecs: an atlas that is interrupted goes on where it was, and its map is what happened.
func atlasSpecs(b *bench) {
	Describe("an atlas", Label("promise"), func() {
		It("goes on where it was interrupted", func(ctx SpecContext) {
			h := b.furnished()
			page := filepath.Join(h.dir, "map.html")
			// The bits of an offset that lead beyond the vdev, which a check finds whatever else was freed.
			ask := []string{"atlas", "bp.blk_dva[0].dva_word[1]", "--at", "zio_free_sync", "--bits", "24-27", "--controls", "2", "--json", "--html", page}
			first := h.start(ask...)
			Eventually(ctx, func(g Gomega) {
				runs(first)
				g.Expect(string(first.Err.Contents())).To(ContainSubstring("2 of 6: "))
			}).Should(Succeed())
			interrupt(first)
			Eventually(ctx, first).Should(gexec.Exit(trouble))
			Expect(family(first)).To(BeEmpty())
			Expect(h.owned(first.Command.Process.Pid)).To(BeEmpty())
			var part bitmap.Map
			Expect(json.Unmarshal(first.Out.Contents(), &part)).To(Succeed())
			tried := slices.DeleteFunc(part.Bits, func(b bitmap.Bit) bool { return b.Outcome == "" })
			Expect(len(tried) + len(part.Controls)).To(BeNumerically(">=", 2))

			again := h.start(ask...)
			Eventually(ctx, again).Should(gexec.Exit(held))
			Expect(string(again.Err.Contents())).To(And(ContainSubstring("of them done before"), Not(ContainSubstring("1 of 6: "))))
			var m bitmap.Map
			Expect(json.Unmarshal(again.Out.Contents(), &m)).To(Succeed())
			Expect(m.Bits).To(HaveLen(64))
			for _, bit := range m.Bits[24:28] {
				Expect(bit).To(And(HaveField("Outcome", trial.Panic), HaveField("Signature", "verify@metaslab_free_concrete"),
					HaveField("Text", ContainSubstring("m < vd->vdev_ms_count"))))
			}
			Expect(m.Controls).To(HaveLen(2))
			Expect(m.Controls).To(HaveEach(HaveField("Outcome", trial.Masked)))
			Expect(os.Stat(page)).To(HaveField("Size()", BeNumerically(">", 0)))
		}, NodeTimeout(patience(2*time.Minute)))
	})
}
