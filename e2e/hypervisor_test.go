package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gexec"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/atlas"
	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/crash"
	"github.com/vdevil/vdevil/lab/machine/libvirt"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

// spinning is a scenario whose guest is busy until somebody ends it.
const spinning = `name: spinning
question: Does the hypervisor live?
claim: "It does not."
cause: software
cost: fast
machine: {cpus: 2, memory: 1GiB, disks: {v0: 512MiB, v1: 512MiB}}
pool: {name: tank, layout: mirror v0 v1, properties: {compression: off}}
prepare:
  - create: tank/d
  - write: {file: /tank/d/f%d, count: 8, size: 128KiB, content: data}
  - sync
`

// spin needs pages that were not touched before, for a while: what is written over again has the pages that it had.
const spin = "i=0; while :; do head -c 1M /dev/zero >/dev/shm/x$i; i=$(((i + 1) % 400)); done"

// spun are the kinds of trials: what is added to the scenario.
var spun = map[string]string{
	"without a fault": "workload: [run: 'SPIN']\narms: [{name: storm}]\nno_control: there is nothing to take away\n",
	"of a memory fault": "workload: [arm, run: 'SPIN']\nfault: {blkptr-dva-flip: {at: zio_free_sync, after: 8}}\n" +
		"arms: [{name: storm}, {name: none, control: true, withhold: true}]\n",
	"of a vdev fault": "workload: [arm, run: 'SPIN']\nfault: {vdev-bitrot: {disks: v0, extents: 2, bytes: 64}}\n" +
		"arms: [{name: storm}, {name: none, control: true, withhold: true}]\n",
	"of a forged pool": "workload: [export, arm, reboot, import, run: 'SPIN']\nfault: {forge: {name: shared-block, dataset: tank/d}}\n" +
		"arms: [{name: storm}, {name: none, control: true, withhold: true}]\n",
}

// end is a way for a hypervisor to end that no guest has anything to do with.
type end struct {
	name   string
	kill   func(pid int)
	reason string
}

// hypervisorSpecs: a QEMU that ends without its guest's doing says nothing about OpenZFS, in whatever it was busy.
func hypervisorSpecs(b *bench) {
	ends := []end{{"kill -9", func(pid int) { Expect(syscall.Kill(pid, syscall.SIGKILL)).To(Succeed()) }, "the machine died"}}
	if os.Getuid() == 0 && memoryCgroup() != "" { // nobody else may make cgroups, and many containers have none
		ends = append(ends, end{"the kernel's OOM killer", starve, "the kernel's OOM killer chose it"})
	}
	// Each night all is tried with both; in every run the one that is quick, in all kinds, and the other once.
	cost := func(e end, often bool) Labels {
		if often && (e.name == ends[0].name || b.driver == lab.Drivers()[0]) || e.name == ends[0].name && b.driver == lab.Drivers()[0] {
			return nil
		}
		return Label("cost:" + string(scenarios.Nightly))
	}
	for _, e := range ends {
		Describe("a hypervisor that is ended by "+e.name, Label("promise"), func() {
			for kind, text := range spun {
				It("spoils a trial "+kind, cost(e, kind == "without a fault"), func(ctx SpecContext) {
					s, err := scenarios.Parse("spinning.yaml", []byte(spinning+strings.ReplaceAll(text, "SPIN", spin)+"trials: 1\nlimit: 60s\nexpect: {verdict: does not reproduce, rate: 0.5}\n"))
					Expect(err).NotTo(HaveOccurred())
					results, err := b.lab.Run(ctx, lab.Request{
						Scenarios: []*scenarios.Scenario{s}, Seed: 1, Only: &campaign.Pick{Arm: "storm", Number: 1},
						Terms: lab.Terms{Keep: lab.KeepNone, Observe: func(event campaign.Event) {
							if _, ok := event.(campaign.Started); ok {
								go b.endOne(ctx, e)
							}
						}},
					})
					Expect(err).NotTo(HaveOccurred())
					t := results[0].Arms[0].Results[0]
					Expect(t).To(And(HaveField("Outcome", trial.Invalid), HaveField("Reason", ContainSubstring(e.reason)), HaveField("Signature", "")))
					AddReportEntry(e.name+" in a trial "+kind, fmt.Sprintf("%s after %.1f s: %s", t.Outcome, t.Seconds, t.Reason))
				}, NodeTimeout(patience(time.Minute)))
			}

			It("spoils a trial of an atlas", cost(e, false), func(ctx SpecContext) {
				found, err := scenarios.Find([]string{struck})
				Expect(err).NotTo(HaveOccurred())
				var outcomes []trial.Outcome
				var texts []string
				// Nobody looks at this word of a block pointer that is freed: the fork is watched for as long as the window is open.
				_, err = b.lab.Atlas(ctx, lab.AtlasRequest{
					Target: "bp.blk_fill", Trigger: scenarios.Trigger{At: "zio_free_sync"}, Scenario: found[0], Seed: 1, Again: true,
					Bits: &atlas.Range{}, Window: 30 * time.Second,
					Terms: lab.Terms{Observe: func(event campaign.Event) {
						switch event := event.(type) {
						case atlas.Begun:
							go b.endOne(ctx, e)
						case campaign.Ended:
							outcomes, texts = append(outcomes, event.Result.Outcome), append(texts, event.Result.Reason)
						}
					}},
				})
				Expect(err).NotTo(HaveOccurred())
				Expect(outcomes).To(Equal([]trial.Outcome{trial.Invalid}))
				Expect(texts[0]).To(ContainSubstring(e.reason))
				AddReportEntry(e.name+" in an atlas", texts[0])
			}, NodeTimeout(patience(2*time.Minute)))

			It("spoils a state of crash", cost(e, false), func(ctx SpecContext) {
				found, err := scenarios.Find([]string{"crash-storm"})
				Expect(err).NotTo(HaveOccurred())
				r, err := b.lab.Crash(ctx, lab.CrashRequest{
					Scenario: found[0], Seed: 1, States: 3, Promises: 2 * time.Second,
					Terms: lab.Terms{Observe: func(event campaign.Event) {
						if _, ok := event.(crash.Begun); ok {
							go b.endOne(ctx, e)
						}
					}},
				})
				Expect(err).NotTo(HaveOccurred())
				Expect(r.States).To(HaveLen(3))
				var spoilt []trial.Result
				// A host that is busy may spoil another one: that is no finding, either.
				Expect(r.States).To(ContainElement(And(HaveField("Outcome", trial.Invalid), HaveField("Reason", ContainSubstring(e.reason))), &spoilt))
				Expect(spoilt).To(HaveLen(1))
				Expect(r.Count(report.Lost)).To(BeZero())
				AddReportEntry(e.name+" in crash", spoilt[0].Reason)
			}, NodeTimeout(patience(3*time.Minute)))
		})
	}
}

// endOne ends the first QEMU of this process's lab that is seen to be at work.
func (b *bench) endOne(ctx context.Context, e end) {
	defer GinkgoRecover()
	storage, err := libvirt.Storage()
	Expect(err).NotTo(HaveOccurred())
	var found []process
	Eventually(ctx, func(g Gomega) {
		found = slices.DeleteFunc(processes(func(p process) bool {
			return p.Program() == "qemu-system-x86_64" && (p.Parent == os.Getpid() ||
				b.driver == libvirt.Name && strings.Contains(strings.Join(p.Args, " "), storage+"/"))
		}), func(p process) bool { return !p.busy() })
		g.Expect(found).NotTo(BeEmpty())
	}).WithPolling(20 * time.Millisecond).Should(Succeed())
	e.kill(found[0].PID)
}

const cgroups = "/sys/fs/cgroup"

// memoryCgroup is the directory of the cgroup above all that bound memory, empty without any.
func memoryCgroup() string {
	for file, dir := range map[string]string{"memory/memory.limit_in_bytes": cgroups + "/memory", "cgroup.subtree_control": cgroups} {
		if _, err := os.Stat(filepath.Join(cgroups, file)); err == nil {
			return dir
		}
	}
	return ""
}

// starve puts a process alone into a cgroup in which there is no room for another page of it, and waits until it is gone.
func starve(pid int) {
	GinkgoHelper()
	const enough = "65536"
	parent, limits := memoryCgroup(), []string{"memory.limit_in_bytes"}
	if parent == cgroups { // version 2
		limits = []string{"memory.swap.max", "memory.max"}
		Expect(os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+memory"), 0)).To(Succeed())
	}
	group, err := os.MkdirTemp(parent, "vdevil-e2e-")
	Expect(err).NotTo(HaveOccurred())
	// The pages that it has stay with the group that it comes from. With it in there a limit would have to be met at once, or be refused.
	for _, name := range limits {
		value := enough
		if strings.Contains(name, "swap") {
			value = "0"
		}
		err := os.WriteFile(filepath.Join(group, name), []byte(value), 0)
		if errors.Is(err, os.ErrNotExist) && strings.Contains(name, "swap") { // a kernel without swap
			continue
		}
		Expect(err).NotTo(HaveOccurred())
	}
	Expect(os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)).To(Succeed())
	Eventually(func() error { return os.Remove(group) }, time.Minute).Should(Succeed()) // busy until then
}

// partialSpecs: what was done before Ctrl-C is not lost.
func partialSpecs(b *bench) {
	Describe("Ctrl-C after three trials", Label("promise"), func() {
		It("reports three results and leaves no guest", func(ctx SpecContext) {
			b.prepared(ctx, struck)
			for _, form := range []string{"--json", "--keep=none"} {
				h := b.furnished()
				run := h.start("run", struck, "--jobs", "1", "--seed", "1", form)
				var once sync.Once
				Eventually(ctx, func(g Gomega) {
					runs(run)
					g.Expect(strings.Count(string(run.Err.Contents()), ": started")).To(Equal(4))
					once.Do(func() { interrupt(run) })
				}).WithPolling(20 * time.Millisecond).Should(Succeed())
				Eventually(ctx, run).Should(gexec.Exit(trouble))
				Expect(family(run)).To(BeEmpty())
				Expect(h.owned(run.Command.Process.Pid)).To(BeEmpty())
				Expect(string(run.Err.Contents())).To(ContainSubstring("vdevil: ended early"))
				if form != "--json" {
					Expect(string(run.Out.Contents())).To(And(ContainSubstring("no verdict, as trials are missing yet"),
						ContainSubstring("17 trials were not done"), ContainSubstring("2/2"), ContainSubstring("1/1")))
					continue
				}
				var d report.Document
				Expect(json.Unmarshal(run.Out.Contents(), &d)).To(Succeed())
				Expect(d.Error).To(ContainSubstring("ended early"))
				Expect(d.Results).To(HaveLen(1))
				Expect(d.Results[0].Missing).To(Equal(17))
				Expect(d.Results[0].Arms[0]).To(And(HaveField("Trials", 2), HaveField("Valid", 2), HaveField("Outcomes", HaveKeyWithValue(trial.Panic, 2))))
				Expect(d.Results[0].Arms[1]).To(And(HaveField("Trials", 1), HaveField("Valid", 1), HaveField("Outcomes", HaveKeyWithValue(trial.Masked, 1))))
			}
		}, NodeTimeout(patience(2*time.Minute)))
	})
}
