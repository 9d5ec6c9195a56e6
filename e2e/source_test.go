package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gexec"

	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/scenarios"
)

// checkout is one of OpenZFS, of which a spec edits one file.
type checkout struct{ dir, file string }

func (c checkout) git(args ...string) string {
	GinkgoHelper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=e2e", "-c", "user.email=e2e@localhost"}, args...)...)
	cmd.Dir = c.dir
	out, err := cmd.CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), "git %s: %s", args, out)
	return strings.TrimSpace(string(out))
}

// edit replaces words in the file.
func (c checkout) edit(old, new string) {
	GinkgoHelper()
	path := filepath.Join(c.dir, c.file)
	text, err := os.ReadFile(path)
	Expect(err).NotTo(HaveOccurred())
	Expect(string(text)).To(ContainSubstring(old))
	Expect(os.WriteFile(path, []byte(strings.ReplaceAll(string(text), old, new)), 0o644)).To(Succeed())
}

// commit edits the file and commits it, and gives the hash.
func (c checkout) commit(subject, old, new string) string {
	GinkgoHelper()
	c.edit(old, new)
	c.git("commit", "--quiet", "--all", "-m", subject)
	return c.git("rev-parse", "HEAD")
}

// seen is all that a build might change of a checkout's files.
func (c checkout) seen() map[string]string {
	GinkgoHelper()
	all := map[string]string{}
	Expect(filepath.Walk(c.dir, func(path string, st os.FileInfo, err error) error {
		if err == nil {
			all[path] = st.Mode().String() + " " + st.ModTime().String()
		}
		return err
	})).To(Succeed())
	return all
}

// sourceSpecs: a version of OpenZFS is whatever somebody has on the desk.
func sourceSpecs(b *bench) {
	Describe("a source", Label("promise", "cost:"+string(scenarios.Nightly)), func() {
		It("is the one that a package compiles, edited, and bisected past a commit that does not compile", func(ctx SpecContext) {
			b.prepared(ctx, struck)
			h := b.furnished()
			c := checkout{filepath.Join(h.dir, "zfs"), "module/zfs/range_tree.c"}
			version := defaultRecipe().OpenZFS
			unpack := h.start("image", "source", version, c.dir, "--yes")
			Eventually(ctx, unpack).Should(gexec.Exit(held))
			Expect(c.git("status", "--short")).To(BeEmpty())
			said := func(more string) string { return `size=%llx)` + more + `",` }
			first := c.git("rev-parse", "HEAD")
			c.commit("a remark", "#include <sys/range_tree.h>\n", "#include <sys/range_tree.h>\n/* a remark */\n")
			broken := c.commit("what does not compile", "/* a remark */\n", "this is no C\n")
			c.edit("this is no C\n", "/* other words */\n")
			other := c.commit("other words", said(""), said(", as before"))
			last := c.commit("another remark", "/* other words */\n", "/* another remark */\n")

			By("running what is not committed")
			c.edit(said(", as before"), said(", on the desk"))
			edited := c.seen()
			run := h.start("run", struck, "--zfs", c.dir, "--only", "flip/1", "--json")
			Eventually(ctx, run).Should(gexec.Exit(held))
			var d report.Document
			Expect(json.Unmarshal(run.Out.Contents(), &d)).To(Succeed())
			Expect(d.Results[0].Arms[0].Results[0].Text).To(HaveSuffix(", on the desk"))
			Expect(c.seen()).To(Equal(edited))
			c.edit(said(", on the desk"), said(", as before"))

			By("asking as git bisect run does")
			for revision, status := range map[string]int{first: 1, broken: 125} {
				c.git("checkout", "--quiet", revision)
				ask := h.start("run", struck, "--zfs", c.dir, "--bisect")
				Eventually(ctx, ask).Should(gexec.Exit(status))
				if revision == broken {
					Expect(string(ask.Err.Contents())).To(ContainSubstring("range_tree.c"))
				}
			}
			c.git("checkout", "--quiet", "main")

			By("bisecting")
			before := c.seen()
			bisect := h.start("bisect", struck, "--source", c.dir, "--old", first, "--new", last, "--text", "as before", "--name", "words", "--json")
			Eventually(ctx, bisect).Should(gexec.Exit(held))
			var found report.Bisection
			Expect(json.Unmarshal(bisect.Out.Contents(), &found)).To(Succeed())
			Expect(found.State).To(Equal(report.StageFound))
			Expect(found.Direction).To(Equal(report.Introduced))
			var hashes []string
			for _, i := range found.Credible {
				for _, commit := range found.Candidates[i].Commits {
					hashes = append(hashes, commit.Hash)
				}
			}
			Expect(hashes).To(ConsistOf(broken, other))
			log := h.start("bisect", "log", "words")
			Eventually(ctx, log).Should(gexec.Exit(held))
			Expect(string(log.Out.Contents())).To(ContainSubstring("git bisect skip " + broken))
			Expect(family(bisect)).To(BeEmpty())
			Expect(c.seen()).To(Equal(before))
		}, NodeTimeout(patience(20*time.Minute)))
	})
}
