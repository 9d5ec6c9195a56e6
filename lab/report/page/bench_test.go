package page

import (
	"context"
	"fmt"
	"runtime/metrics"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/chromedp"

	"github.com/vdevil/vdevil/lab/report/browsertest"
	"github.com/vdevil/vdevil/lab/trial"
)

// memory counts what is written, and samples how much memory the program has meanwhile.
type memory struct {
	bytes int
	peak  uint64
}

func (m *memory) Write(p []byte) (int, error) {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	m.peak = max(m.peak, s[0].Value.Uint64()-s[1].Value.Uint64())
	m.bytes += len(p)
	return len(p), nil
}

// outline takes away what a store does not read of all trials, and gives it back for those that are asked for.
func outline(p Page) Page {
	injection := p.Runs[0].Results[0].Arms[0].Results[0].Injections
	for _, s := range p.Runs[0].Results {
		for _, a := range s.Arms {
			for i := range a.Results {
				r := &a.Results[i]
				r.Injections, r.Spans, r.Bundle, r.Repeat, r.LastStep, r.Audit = nil, nil, "", "", "", nil
				if r.Number > 1 {
					r.Events = nil
				}
			}
		}
	}
	env := p.Runs[0].Environment
	p.Whole = func(at Place, r trial.Result) (trial.Result, trial.Environment, error) {
		r.Injections = injection
		r.Spans = []trial.Span{{Name: "fork", Seconds: 0.3}, {Name: "workload", Seconds: r.Seconds - 1}, {Name: "judge", Seconds: 0.7}}
		r.Bundle = fmt.Sprintf("/state/vdevil/runs/20261128-010000.000/%s-2.3.2/%s-%03d", at.Scenario, r.Arm, r.Number)
		r.Repeat = fmt.Sprintf("vdevil run %s --zfs 2.3.2 --seed 7 --only %s/%d --driver qemu", at.Scenario, r.Arm, r.Number)
		return r, env, nil
	}
	return p
}

// BenchmarkWrite writes pages: MiB/page is their size, MiB/peak the memory of the whole program, the results included.
func BenchmarkWrite(b *testing.B) {
	for _, c := range []struct {
		name string
		sample
	}{{"10000", sample{scenarios: 14, versions: 2, trials: 120}}, {"100000", sample{scenarios: 30, versions: 4, trials: 278}}} {
		b.Run(c.name, func(b *testing.B) {
			p := outline(c.page())
			var m memory
			for b.Loop() {
				m = memory{}
				if err := Write(&m, p); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(m.bytes)/(1<<20), "MiB/page")
			b.ReportMetric(float64(m.peak)/(1<<20), "MiB/peak")
			b.ReportMetric(float64(c.total()), "trials")
		})
	}
}

// spent is how many seconds of a CPU the page has taken so far.
func (b *browser) spent() (seconds float64) {
	answer := browsertest.Get(b.Browser, func(ctx context.Context, t *chromedp.Target) (performance.GetMetricsResult, error) {
		return cdp.Call(ctx, t, performance.GetMetrics, cdp.Empty{})
	})
	for _, m := range answer.Metrics {
		if m.Name == "TaskDuration" {
			seconds = m.Value
		}
	}
	return seconds
}

// BenchmarkPage loads a page in a browser. By the clock, ms/paint is when the first content is seen, ms/filter how long the slowest of some
// filters takes until the list is laid out, and ms/open a trial. On a computer that others use, too, the time of a CPU tells more:
// cpu-ms/load until the trials can be filtered, and cpu-ms/filter of the slowest filter.
func BenchmarkPage(b *testing.B) {
	for _, c := range []struct {
		name string
		sample
	}{{"10000", sample{scenarios: 14, versions: 2, trials: 120}}, {"100000", sample{scenarios: 30, versions: 4, trials: 278}}} {
		b.Run(c.name, func(b *testing.B) {
			p := written(b, outline(c.page()))
			browser := &browser{browsertest.Open(b, []byte(p), "")}
			browser.Do(browsertest.Call(performance.Enable, performance.EnableParams{TimeDomain: performance.EnableTimeDomainThreadTicks}))
			var paint, filter, open, load, cpu float64
			for b.Loop() {
				before := browser.spent()
				browser.Do(chromedp.Reload())
				browser.until(`performance.getEntriesByName("first-contentful-paint").length > 0 && performance.getEntriesByType("navigation")[0].loadEventEnd > 0`)
				paint = max(paint, eval[float64](browser, `performance.getEntriesByName("first-contentful-paint")[0].startTime`))
				load = max(load, browser.spent()-before)
				for _, words := range []string{"range", "storm flip/1", "no such thing", "x", ""} {
					before := browser.spent()
					filter = max(filter, eval[float64](browser, fmt.Sprintf(`(() => {
						const text = document.getElementById("text"), begun = performance.now();
						text.value = %q;
						text.dispatchEvent(new Event("input"));
						document.body.offsetHeight;
						return performance.now() - begun;
					})()`, words)))
					cpu = max(cpu, browser.spent()-before)
				}
				open = max(open, eval[float64](browser, `(() => {
					const begun = performance.now();
					history.replaceState(null, "", document.querySelector("#list tbody tr:last-child a").getAttribute("href"));
					dispatchEvent(new Event("hashchange"));
					document.body.offsetHeight;
					return performance.now() - begun;
				})()`))
			}
			b.ReportMetric(paint, "ms/paint")
			b.ReportMetric(filter, "ms/filter")
			b.ReportMetric(open, "ms/open")
			b.ReportMetric(1000*load, "cpu-ms/load")
			b.ReportMetric(1000*cpu, "cpu-ms/filter")
			b.ReportMetric(float64(len(p))/(1<<20), "MiB/page")
		})
	}
}
