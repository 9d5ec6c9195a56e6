package page

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/report/bitmap"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
	"github.com/vdevil/vdevil/lab/zfs/panics"
	"github.com/vdevil/vdevil/scenarios"
)

// hostile is text that would break out of a page that did not escape it, or hide in one that shows it.
const hostile = "</script><script>window.ran = 1</script><!-- <img src=http://example.invalid/x onerror='window.ran = 2'> \u2028\u2029\x1b[31m\u202e'\"&amp;{{.}}`|"

const (
	overlap = "range-tree-add-overlap@metaslab_free_concrete"
	freed   = "PANIC: zfs: adding existent segment to range tree (offset=%x size=200)"
)

// sample makes campaigns of any size: questions are asked of each version, each with two fault arms and a control arm.
type sample struct {
	scenarios, versions, trials int // trials of each arm
	hostile                     bool
}

func (s sample) total() int { return s.scenarios * s.versions * s.trials * 3 }

func (s sample) name(i int) string {
	if s.hostile && i == 0 {
		return "evil " + hostile
	}
	return fmt.Sprintf("%s-%d", []string{"blkptr-dva-flip", "snapshot-storm", "legacy-dedup-gang", "forged-log"}[i%4], i)
}

func (s sample) page() Page {
	random := rand.New(rand.NewPCG(17, 17))
	p := Page{Report: report.Report{Title: "nightly", Made: time.Date(2026, 11, 28, 4, 0, 0, 0, time.UTC)}}
	run := report.Run{Name: "nightly", Environment: trial.Environment{Version: "0.1.0", Driver: "qemu", Accel: "kvm", Host: "linux/amd64, 8 CPUs, QEMU 10.1"}}
	for i := range s.scenarios {
		name := s.name(i)
		asked := &scenarios.Scenario{
			Name: name, Question: "Does one flipped bit in a block pointer that is being freed reproduce the panic?", Claim: "Memory errors below the guest.",
			Arms:   []scenarios.Arm{{Name: "flip", Trials: s.trials}, {Name: "far", Trials: s.trials}, {Name: "no-flip", Control: true, Trials: s.trials}},
			Expect: scenarios.Expect{Verdict: scenarios.Reproduces, Signature: overlap, Rate: 0.5},
		}
		if s.hostile && i == 0 {
			asked.Question = "Why? " + hostile
		}
		p.Asked = append(p.Asked, asked)
		for v := range s.versions {
			openzfs := []string{"2.3.2", "2.3.9", "2.4.4", "2.1.11"}[v%4]
			var results []trial.Result
			plan := verdict.Plan{Trials: map[string]int{}, Fixed: true}
			for _, a := range asked.Arms {
				plan.Trials[a.Name] = s.trials
				for n := 1; n <= s.trials; n++ {
					results = append(results, s.trial(random, asked, a, n, (i+v)%5))
				}
			}
			sum := verdict.Conclude(asked, results, plan)
			sum.OpenZFS, sum.Seed, sum.Seconds = openzfs, 7, 321
			run.Results = append(run.Results, sum)
		}
	}
	p.Runs = []report.Run{run}
	p.Console = console
	return p
}

// trial is one of a kind of cell: in 0 and 1 the fault arm panics, in 2 sometimes, in 3 never, in 4 the control arm does once.
func (s sample) trial(random *rand.Rand, asked *scenarios.Scenario, a scenarios.Arm, n, kind int) trial.Result {
	r := trial.Result{
		Arm: a.Name, Control: a.Control, Number: n, Seed: random.Uint64(), Outcome: trial.Masked, Seconds: 9 + 3*random.Float64(),
		Started: time.Date(2026, 11, 28, 1, 0, n, 0, time.UTC), LastStep: "workload 3, churn",
		Repeat: fmt.Sprintf("vdevil run %s --zfs 2.3.2 --seed 7 --only %s/%d --driver qemu", asked.Name, a.Name, n),
		Bundle: fmt.Sprintf("/state/vdevil/runs/20261128-010000.000/%s-2.3.2/%s-%03d", asked.Name, a.Name, n),
		Injections: []trial.Injection{{
			Fault: "blkptr-dva-flip", Target: "zio_free_sync(bp)->blk_dva[0].dva_word[1] bit 9", Trigger: "hit 14 of zio_free_sync, txg 42", Withheld: a.Control,
			Virt: 0xffff9f3a41d08c08, Phys: 0x1d08c08, Before: []byte{0x40, 0x1a, 0x2c, 0, 0, 0, 0, 0}, After: []byte{0x40, 0x18, 0x2c, 0, 0, 0, 0, 0},
			Effect: "the block of 0x8000 bytes at 0x58348000 seems to lie at 0x58308000",
		}},
	}
	chance := random.Float64()
	switch {
	case random.Float64() < 0.01:
		r.Outcome, r.Reason = trial.Invalid, "connect to guest: the machine died\nconsole ends:\n[ 1.0] "+s.word("line")
	case a.Name == "flip" && (kind < 2 && chance < 0.9 || kind == 2 && chance < 0.3):
		s.panics(&r, random)
	case a.Name == "far" && chance < 0.2:
		r.Outcome, r.Audit = trial.Latent, []string{"free-but-referenced: vdev 0, metaslab 0, offset 0x32fc00, size 0x8000"}
	case a.Control && kind == 4 && n == 1:
		r.Outcome, r.Signature, r.Text = trial.Panic, "verify@dnode_hold_impl", "VERIFY3(dn->dn_type != DMU_OT_NONE) failed (0 != 0)\nPANIC at dnode.c:1550:dnode_hold_impl()"
		r.Seconds = 2
	}
	r.Spans = []trial.Span{{Name: "fork", Seconds: 0.3}, {Name: "workload", Seconds: r.Seconds - 1}, {Name: "judge", Seconds: 0.7}}
	return r
}

func (s sample) word(plain string) string {
	if s.hostile {
		return hostile
	}
	return plain
}

func (s sample) panics(r *trial.Result, random *rand.Rand) {
	r.Outcome, r.Signature, r.Seconds = trial.Panic, overlap, 1.5+8*random.ExpFloat64()/3
	r.Text = fmt.Sprintf(freed, random.Uint32()&^0x1ff)
	if s.hostile {
		r.Text += " " + hostile
	}
	e := panics.Event{Class: panics.Panic, Condition: panics.CondAddOverlap, Caller: "metaslab_free_concrete", Text: r.Text, Thread: "txg_sync", PID: 1187}
	for _, fn := range []string{"dump_stack_lvl", "vcmn_err.cold", "zfs_panic_recover", "range_tree_add_impl", "metaslab_free_concrete", "zio_dva_free", "zio_free_sync"} {
		e.Stack = append(e.Stack, panics.Frame{Func: fn, Offset: 0x4d, Size: 0x1f0, Module: "zfs"})
	}
	r.Events = []panics.Event{e}
}

// console is what a guest prints around its message.
func console(r trial.Result) []byte {
	var b strings.Builder
	for i := range 60 {
		fmt.Fprintf(&b, "[   %2d.%06d] systemd[1]: Started a unit of the guest, number %d.\r\n", i, r.Number, i)
	}
	for line := range strings.Lines(r.Text) {
		fmt.Fprintf(&b, "[   61.%06d] %s\r\n", r.Number, strings.TrimSuffix(line, "\n"))
	}
	for i := range 40 {
		fmt.Fprintf(&b, "[   62.%06d] Call Trace of frame %d\r\n", r.Number, i)
	}
	return []byte(b.String())
}

// full is a small page with everything in it.
func full() Page {
	p := sample{scenarios: 5, versions: 3, trials: 10}.page()
	p.Past = "30 nights since 2026-10-29"
	p.Changes = []report.Change{
		{Scenario: "snapshot-storm-1", OpenZFS: "2.3.9", Since: "2026-11-26", Before: "reproduces", After: "does not reproduce", Text: "probability 0.997", Verdict: true},
		{Scenario: "legacy-dedup-gang-2", OpenZFS: "2.4.4", Arm: "flip", Since: "2026-11-20", Before: "10/10", After: "7/10", Over: true},
	}
	m := bitmap.Map{Target: "blkptr.blk_dva[0]", Trigger: "zio_free_sync", OpenZFS: "2.3.2", Size: 128}
	for bit := range 128 {
		o := trial.Panic
		if bit%3 == 0 {
			o = trial.Masked
		}
		m.Bits = append(m.Bits, bitmap.Bit{Bit: bit, Field: "dva_word[0]", Outcome: o, Seconds: 1})
	}
	p.Atlases = []bitmap.Map{m}
	p.Bisections = []report.Bisection{bisected("zio: keep the reference until the block is freed")}
	p.Studies = []report.Study{cutStudy()}
	return p
}

func bisected(subject string) report.Bisection {
	b := report.Bisection{
		Scenario: "legacy-dedup-gang", Arm: "gang-dedup", State: report.StageFound, Direction: report.Introduced, Fork: -1, Last: 3, Confidence: 0.99,
		Probability: 0.995, Neighbours: [2]int{1, 2}, Before: report.Side{Scored: 20, CI95: [2]float64{0, 0.17}},
		After: report.Side{Scored: 20, Hits: 20, Rate: 1, CI95: [2]float64{0.83, 1}}, Credible: []int{2}, Trials: 40, Built: 4,
		Repeat: []string{"vdevil run legacy-dedup-gang --zfs 0123456789 --only gang-dedup/1"},
	}
	for i := range 4 {
		c := report.Candidate{
			Index: i, OpenZFS: fmt.Sprintf("2.3.3-%d", i), Trials: 10, Scored: 10, CI95: [2]float64{0, 0.31},
			Commits: []report.Commit{{Hash: strings.Repeat(fmt.Sprint(i), 40), Subject: subject, Author: "A. Stranger", Date: time.Date(2025, 5, 1, 0, 0, 0, 0, time.UTC)}},
		}
		if i > 1 {
			c.Hits, c.Rate, c.CI95 = 10, 1, [2]float64{0.69, 1}
		}
		b.Candidates = append(b.Candidates, c)
	}
	b.Candidates[2].Posterior = 0.995
	return b
}

func cutStudy() report.Study {
	s := report.Study{Scenario: "crash-storm", Arm: "storm", OpenZFS: "2.3.2", Flush: "honest flushes", Writes: 2000, Flushes: 40, Bytes: 1 << 28, Promised: 6, Planned: 5}
	for i := range 4 {
		r := trial.Result{Arm: "storm", Number: i + 1, Outcome: trial.Masked, Seconds: 2, State: &trial.State{Kind: "subset", At: 100 * i, Unflushed: 9, Kept: 4, Promises: 6}}
		if i == 2 {
			r.Outcome, r.State.ReadWrite = trial.Broken, "cannot import 'tank': I/O error"
		}
		s.States = append(s.States, r)
	}
	return s
}
