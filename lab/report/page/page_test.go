package page

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"regexp"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
)

func written(t testing.TB, p Page) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, p); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// indexOf reads what the script reads.
func indexOf(t *testing.T, page string) (i index) {
	t.Helper()
	m := regexp.MustCompile(`<script type="application/json" id="data">(.*)\n</script>`).FindStringSubmatch(page)
	if m == nil {
		t.Fatal("there is no index")
	}
	if err := json.Unmarshal([]byte(m[1]), &i); err != nil {
		t.Fatal(err)
	}
	return i
}

// Where trials are left out the page says so, and the odd ones are there.
func TestThin(t *testing.T) {
	arm := func(name string, counts ...int) armTrials { // of masked, panic and latent trials
		a := armTrials{name: name}
		for i, o := range []trial.Outcome{trial.Masked, trial.Panic, trial.Latent} {
			for range counts[i] {
				a.results = append(a.results, trial.Result{Outcome: o, Number: len(a.results) + 1})
			}
		}
		return a
	}
	list := []group{{arms: []armTrials{arm("flip", 10, 70, 2), arm("off", 100, 1, 0)}}}
	for _, c := range []struct {
		most, number, odd int
		said              string
	}{
		{183, 183, 13, "All 183 trials are in this page."},
		{53, 53, 13, "53 of 183 trials are in this page: all 13 that did not end as most of their arm, and of the others the first 20 of each arm."},
		{54, 53, 13, "53 of 183 trials"},
		{15, 15, 13, "all 13 that did not end as most of their arm, and of the others the first 1 of each arm"},
		{14, 12, 6, "12 of 183 trials are in this page: the first 3 of each ending in each arm; 6 of the 13 that did not end as most of their arm are among them"},
		{2, 2, 1, "2 of 183 trials are in this page: the first 1 of each ending in each arm; 1 of the 13 that did not end as most of their arm are among them, as far as there is room"},
	} {
		s := thin(list, c.most)
		kept := 0
		for a := range s.keep[0] {
			for _, k := range s.keep[0][a] {
				if k {
					kept++
				}
			}
		}
		if s.number != c.number || kept != c.number || s.oddShown != c.odd || !strings.Contains(s.said(), c.said) {
			t.Errorf("at most %d: %d kept, %d odd: %s", c.most, kept, s.oddShown, s.said())
		}
	}
}

func TestThinPage(t *testing.T) {
	p := sample{scenarios: 4, versions: 2, trials: 50}.page()
	p.Most = 300
	page := written(t, p)
	i := indexOf(t, page)
	if len(i.Trials) > 300 || len(i.Trials) < 250 || i.All != 1200 {
		t.Errorf("%d of %d trials are in the index", len(i.Trials), i.All)
	}
	if said := fmt.Sprintf("%d of 1,200 trials are in this page", len(i.Trials)); !strings.Contains(page, said) {
		t.Errorf("the page does not say %q", said)
	}
	details := regexp.MustCompile(`<script type="application/json" id="d\d+">(.*)\n</script>`).FindAllStringSubmatch(page, -1)
	n := 0
	for _, m := range details {
		var c struct {
			Trials []json.RawMessage `json:"trials"`
		}
		if err := json.Unmarshal([]byte(m[1]), &c); err != nil {
			t.Fatal(err)
		}
		n += len(c.Trials)
	}
	if n != len(i.Trials) || len(details) != (n+perChunk-1)/perChunk {
		t.Errorf("%d elements have details of %d trials, of %d", len(details), n, len(i.Trials))
	}
}

// Results may come in outline: what is shown of a trial is asked for, of those that are shown alone.
func TestWhole(t *testing.T) {
	p := sample{scenarios: 1, versions: 1, trials: 100}.page()
	p.Most = 40
	asked := 0
	p.Whole = func(at Place, r trial.Result) (trial.Result, trial.Environment, error) {
		if at != (Place{"nightly", "blkptr-dva-flip-0", "2.3.2"}) {
			t.Errorf("asked for a trial of %v", at)
		}
		asked++
		r.Repeat = "vdevil repeat it"
		return r, trial.Environment{Host: "another host"}, nil
	}
	page := written(t, p)
	if n := len(indexOf(t, page).Trials); asked < n || asked > n+2 {
		t.Errorf("asked for %d trials, %d are shown", asked, n)
	}
	for _, want := range []string{"vdevil repeat it", "another host"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not in the page", want)
		}
	}
	gone := errors.New("the store is gone")
	p.Whole = func(Place, trial.Result) (trial.Result, trial.Environment, error) {
		return trial.Result{}, trial.Environment{}, gone
	}
	if err := Write(&bytes.Buffer{}, p); !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
}

type broken struct{ left int }

var errFull = errors.New("the disk is full")

func (b *broken) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestWriteFails(t *testing.T) {
	p := full()
	for _, room := range []int{0, 100_000, 300_000} {
		if err := Write(&broken{room}, p); !errors.Is(err, errFull) {
			t.Errorf("with room for %d bytes: %v", room, err)
		}
	}
}

func TestEmpty(t *testing.T) {
	page := written(t, Page{Report: report.Report{Title: "nothing"}})
	if !strings.Contains(page, "There is no verdict here.") || len(indexOf(t, page).Trials) != 0 {
		t.Error(page)
	}
	written(t, Page{Report: report.Report{Runs: []report.Run{{Results: []verdict.Summary{{Scenario: "x", Arms: []verdict.Arm{{Name: "a"}}}}}}}})
}

func TestMarked(t *testing.T) {
	console := "a\nb\n[ 1.0] PANIC: it\n[ 1.1] broke\n[ 1.2] trace\n"
	for _, c := range []struct {
		console, message string
		want             block
	}{
		{console, "PANIC: it\nbroke", block{"Console, line 3", "a\nb\n", "[ 1.0] PANIC: it\n[ 1.1] broke\n", "[ 1.2] trace\n"}},
		{console, "PANIC: it", block{"Console, line 3", "a\nb\n", "[ 1.0] PANIC: it\n", "[ 1.1] broke\n[ 1.2] trace\n"}},
		{"PANIC: it", "PANIC: it\nbroke", block{"Console, line 1", "", "PANIC: it", ""}},
		{console, "", block{"Console, its end", console, "", ""}},
		{console, "elsewhere", block{"Console, its end", console, "", ""}},
		{strings.Repeat("x\n", 50), "", block{"Console, its end", strings.Repeat("x\n", 32), "", ""}},
	} {
		if got := marked([]byte(c.console), c.message); got != c.want {
			t.Errorf("%q in %q: %q", c.message, c.console, got)
		}
	}
	long := marked([]byte(strings.Repeat("y", 100_000)+" PANIC "+strings.Repeat("z", 100_000)), "PANIC")
	if n := len(long.before) + len(long.marked) + len(long.after); n > consoleMost+100 {
		t.Errorf("a console of one line takes %d bytes", n)
	}
}

// The same links lead to the same place in every report, and none to two.
func TestIDs(t *testing.T) {
	for _, c := range []struct {
		names []string
		want  string
	}{
		{[]string{"a", "2.3.2", "flip"}, "a/2.3.2/flip"}, {[]string{"a/b", "c d"}, "a%2Fb/c%20d"}, {[]string{"<\x00>"}, "%3C%5Cu0000%3E"},
	} {
		if got := id(c.names...); got != c.want {
			t.Errorf("%q: %s, want %s", c.names, got, c.want)
		}
	}
	page := written(t, full())
	seen := map[string]bool{}
	for _, m := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if name := html.UnescapeString(m[1]); seen[name] || strings.ContainsAny(name, " \t") {
			t.Errorf("%q stands there twice, or has spaces in it", name)
		} else {
			seen[name] = true
		}
	}
	for _, want := range []string{"blkptr-dva-flip-0/2.3.2", "blkptr-dva-flip-0/2.3.2/no-flip", "blkptr-dva-flip-0/"} {
		if !seen[want] {
			t.Errorf("there is no %s", want)
		}
	}
}

// Curves that lie over each other have letters apart, and times that are not all known are those of whole trials.
func TestCurves(t *testing.T) {
	arm := func(name string, spans bool, ends ...float64) verdict.Arm {
		a := verdict.Arm{Name: name, Outcomes: map[trial.Outcome]int{trial.Panic: len(ends)}}
		for _, s := range ends {
			r := trial.Result{Outcome: trial.Panic, Seconds: s}
			if spans {
				r.Spans = []trial.Span{{Name: "fork", Seconds: 1}, {Name: "workload", Seconds: s - 1}}
			}
			a.Results = append(a.Results, r)
		}
		return a
	}
	c := newCurves([]verdict.Arm{arm("a", true, 2, 3, 4), arm("b", true, 2, 3, 4)})
	if c.Curves[0].LabelX() == c.Curves[1].LabelX() || c.Measured != "seconds of the workload" || c.Curves[0].Half != "2.0 s" || c.Curves[0].Survived != "0" {
		t.Errorf("%+v", c)
	}
	if c := newCurves([]verdict.Arm{arm("a", true, 2), arm("b", false, 2)}); c.Measured != "seconds of the trial" {
		t.Errorf("measured are %s", c.Measured)
	}
	quiet := verdict.Arm{Outcomes: map[trial.Outcome]int{trial.Masked: 1}, Results: []trial.Result{{Outcome: trial.Masked, Seconds: 5}}}
	if c := newCurves([]verdict.Arm{quiet}); c != nil {
		t.Errorf("a curve of nothing: %+v", c)
	}
}
