package drive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/guest/guesttest"
	"github.com/vdevil/vdevil/lab/machine/scripttest"
	"github.com/vdevil/vdevil/lab/oracle"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/zfs/panics"
	"github.com/vdevil/vdevil/scenarios"
)

// site is a worker in a guest whose commands run on this computer. zpool, zfs and udevadm only note what they are told.
type site struct {
	*Worker
	t      *testing.T
	server *guesttest.Server
	dir    string // for files; the only dataset is mounted there
	log    string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, server: guesttest.New(t), dir: t.TempDir(), log: filepath.Join(t.TempDir(), "log")}
	for _, name := range []string{"zpool", "udevadm"} {
		s.server.Program(name, s.noting(name))
	}
	s.server.Program("zfs", s.noting("zfs")+`[ "$1 $2" != "list -H" ] || echo `+s.dir)
	m := scripttest.New(t)
	m.OnDial = func(ctx context.Context, _ int) (net.Conn, error) { return s.server.Dial(ctx) }
	g, err := guest.Connect(t.Context(), m, guest.Keys{Login: s.server.Login, Host: s.server.Host})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	s.Worker = &Worker{Guest: g, Pool: "tank", Seed: 7}
	return s
}

func (s *site) noting(name string) string { return "echo " + name + ` "$@" >>` + s.log + "\n" }

// noted is what the programs were told, one line each.
func (s *site) noted() string {
	s.t.Helper()
	text, err := os.ReadFile(s.log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatal(err)
	}
	return string(text)
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

// fifo makes a place where two commands meet.
func (s *site) fifo() string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// says makes zpool status give what a real one gave.
func (s *site) says(status string) {
	s.t.Helper()
	path, err := filepath.Abs("../zfs/status/testdata/status/" + status + ".txt")
	if err != nil {
		s.t.Fatal(err)
	}
	s.server.Program("zpool", s.noting("zpool")+"cat "+path)
}

// TestCommands expects each step to be the commands that it stands for, on the worker's pool.
func TestCommands(t *testing.T) {
	for name, c := range map[string]struct {
		step scenarios.Step
		want string
	}{
		"sync":     {scenarios.Step{Sync: true}, "zpool sync tank\n"},
		"snapshot": {scenarios.Step{Snapshot: "tank@a b"}, "zfs snapshot tank@a b\n"},
		"destroy":  {scenarios.Step{Destroy: "tank@a"}, "zfs destroy tank@a\n"},
		"create":   {scenarios.Step{Create: "tank/d"}, "zfs create -p tank/d\n"},
		"scrub":    {scenarios.Step{Scrub: true}, "zpool scrub -w tank\n"},
		"import":   {scenarios.Step{Import: true}, "udevadm settle\nzpool import -d /dev/disk/by-id/ tank\n"},
		"export":   {scenarios.Step{Export: true}, "zpool export tank\n"},
		"run":      {scenarios.Step{Run: "zpool get all"}, "zpool get all\n"},
		"must":     {scenarios.Step{Must: "zfs list"}, "zfs list\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			if err := s.Run(t.Context(), []scenarios.Step{c.step}); err != nil || s.noted() != c.want {
				t.Errorf("noted was %q, %v; want %q", s.noted(), err, c.want)
			}
			if got := s.Done().Step; got != c.step.String() {
				t.Errorf("the step is %q", got)
			}
			for _, program := range []string{"zpool", "zfs"} {
				s.server.Program(program, "echo no such thing >&2; exit 3")
			}
			err := s.Run(t.Context(), []scenarios.Step{c.step})
			if err == nil || !strings.HasPrefix(err.Error(), "step "+c.step.String()+": ") || !strings.HasSuffix(err.Error(), "exit status 3: no such thing") {
				t.Errorf("refused: %v", err)
			}
		})
	}
}

// TestDisks expects commands to know the disks by name, and errors to have the command as it was written.
func TestDisks(t *testing.T) {
	s := newSite(t)
	s.Disks = []string{"v0", "log-1"}
	err := s.Run(t.Context(), []scenarios.Step{{Run: "zpool offline tank $v0; zpool remove tank $log_1; exit 4"}})
	if want := "zpool offline tank /dev/disk/by-id/virtio-v0\nzpool remove tank /dev/disk/by-id/virtio-log-1\n"; s.noted() != want {
		t.Errorf("noted was %q, want %q", s.noted(), want)
	}
	if err == nil || !strings.Contains(err.Error(), ": zpool offline tank $v0; ") || strings.Contains(err.Error(), "by-id") {
		t.Errorf("the error is %v", err)
	}
}

// TestRunStops expects no step after one that failed.
func TestRunStops(t *testing.T) {
	s := newSite(t)
	err := s.Run(t.Context(), []scenarios.Step{{Sync: true}, {Run: "exit 4"}, {Scrub: true}})
	if err == nil || !strings.HasPrefix(err.Error(), "step run exit 4: ") || s.noted() != "zpool sync tank\n" || s.Done().Step != "run exit 4" {
		t.Errorf("%v at %q, after %q", err, s.Done().Step, s.noted())
	}
}

// TestParameters expects the module to be told by the name, and the names to be set in their order.
func TestParameters(t *testing.T) {
	for module, values := range map[string]map[string]string{
		"spl": {"spl_none_such": "1", "zfs_none_such": "2"}, "zfs": {"zfs_none_such_b": "2", "zfs_none_such": "1"},
	} {
		s := newSite(t)
		err := s.Run(t.Context(), []scenarios.Step{{Parameter: values}})
		first := module + "_none_such"
		says := regexp.MustCompile("set " + first + "=1: (module " + module + " is not loaded|no such module parameter: " + module + " )")
		if err == nil || !says.MatchString(err.Error()) {
			t.Errorf("%s: %v", module, err)
		}
	}
	if err := newSite(t).Run(t.Context(), []scenarios.Step{{Parameter: map[string]string{}}}); err != nil {
		t.Error(err)
	}
}

// TestFiles writes files, removes one, damages another and has them verified.
func TestFiles(t *testing.T) {
	s := newSite(t)
	ctx := t.Context()
	write := scenarios.Write{File: s.path("f%d"), Count: 3, Size: 4000, Content: "x"}
	if err := s.Run(ctx, []scenarios.Step{{Write: &write}, {Verify: true}}); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		path, want := s.path(fmt.Sprintf("f%d", n)), oracle.Content(7, fmt.Sprintf("x#%d", n), 4000)
		if data, err := os.ReadFile(path); err != nil || !bytes.Equal(data, want) || !bytes.Equal(s.Written()[path], want) {
			t.Errorf("%s holds %d bytes, not those of the seed, %v", path, len(data), err)
		}
	}
	if got := s.Done().Findings; len(got) != 3 || len(got.Of(oracle.Intact)) != 3 {
		t.Errorf("found was %v", got)
	}
	if err := os.WriteFile(s.path("f2"), []byte("rotten"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(ctx, []scenarios.Step{{Remove: []string{s.path("f0")}}, {Verify: true}}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.path("f0")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was removed is there: %v", err)
	}
	got := s.Done().Findings
	if len(got) != 2 || !slices.Equal(got.Of(oracle.Intact), []string{s.path("f1")}) || !slices.Equal(got.Of(oracle.Wrong), []string{s.path("f2")}) {
		t.Errorf("found was %v", got)
	}
	if _, kept := s.Written()[s.path("f0")]; kept || len(s.Written()) != 2 {
		t.Error("the content of a removed file is kept")
	}
	s.server.Program("sha256sum", "echo killed >&2; exit 255")
	if err := s.Run(ctx, []scenarios.Step{{Verify: true}}); err == nil || !strings.Contains(err.Error(), "verify files") {
		t.Errorf("without an answer: %v", err)
	}
	write.File = s.path("none/f%d")
	if err := s.Run(ctx, []scenarios.Step{{Write: &write}}); err == nil || !strings.Contains(err.Error(), "write guest file "+s.path("none/f0")) || !guest.Refused(err) {
		t.Errorf("a file in no directory: %v", err)
	}
}

// TestCallbacks expects the steps that a trial takes part in to be left to it.
func TestCallbacks(t *testing.T) {
	var called []string
	refuse := false
	note := func(what string) error {
		called = append(called, what)
		if refuse {
			return errors.New("no " + what)
		}
		return nil
	}
	w := Worker{
		Arm:    func(context.Context) error { return note("arm") },
		Reboot: func(context.Context) error { return note("reboot") },
		Panics: func(_ context.Context, steps []scenarios.Step) error { return note("panic of " + steps[0].Kind()) },
	}
	steps := []scenarios.Step{{Arm: true}, {Reboot: true}, {Panic: []scenarios.Step{{Import: true}}}}
	if err := w.Run(t.Context(), steps); err != nil || !slices.Equal(called, []string{"arm", "reboot", "panic of import"}) {
		t.Errorf("called were %q, %v", called, err)
	}
	refuse = true
	for i, want := range []string{"step arm: no arm", "step reboot: no reboot", "step panic (import): no panic of import"} {
		if err := w.Run(t.Context(), steps[i:i+1]); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestHealthy expects a pool with damage, or one that repaired some, to end the workload as a result.
func TestHealthy(t *testing.T) {
	for status, early := range map[string]bool{"healthy": false, "repaired": true, "permanent": true, "missing": true} {
		s := newSite(t)
		s.says(status)
		err := s.Run(t.Context(), []scenarios.Step{{Healthy: true}})
		var stopped *EarlyError
		if errors.As(err, &stopped) != early || (err != nil) != early || early && !strings.HasPrefix(stopped.Error(), "the pool is not healthy: ") {
			t.Errorf("%s: %v", status, err)
		}
		if s.noted() != "zpool status -vp tank\n" {
			t.Errorf("noted was %q", s.noted())
		}
	}
	for what, scan := range map[string]string{
		"repaired 512": "scrub repaired 512 in 00:00:01 with 0 errors on Sun Jun  1 12:00:00 2025", "with 3 errors": "scrub repaired 0 in 00:00:01 with 3 errors on Sun Jun  1 12:00:00 2025",
	} {
		s := newSite(t)
		s.server.Program("zpool", "cat <<'end'\n  pool: tank\n state: ONLINE\n  scan: "+scan+
			"\nconfig:\n\n\tNAME  STATE  READ WRITE CKSUM\n\ttank  ONLINE  0  0  0\n\t  v0  ONLINE  0  0  0\n\nerrors: No known data errors\nend\n")
		var stopped *EarlyError
		if err := s.Run(t.Context(), []scenarios.Step{{Healthy: true}}); !errors.As(err, &stopped) || !strings.Contains(stopped.Reason, what) {
			t.Errorf("a scrub that %s: %v", what, err)
		}
	}
	s := newSite(t)
	s.server.Program("zpool", "exit 1")
	if err := s.Run(t.Context(), []scenarios.Step{{Healthy: true}}); err == nil || errors.As(err, new(*EarlyError)) {
		t.Errorf("a pool that does not answer: %v", err)
	}
}

// TestMust expects an answer to be told from none.
func TestMust(t *testing.T) {
	for name, c := range map[string]struct {
		step         scenarios.Step
		broken, fail bool
	}{
		"must holds":               {scenarios.Step{Must: "true"}, false, false},
		"must does not hold":       {scenarios.Step{Must: "exit 125"}, true, true},
		"must, no program":         {scenarios.Step{Must: "exit 127"}, false, true},
		"must-fail is refused":     {scenarios.Step{MustFail: "exit 125"}, false, false},
		"must-fail is not":         {scenarios.Step{MustFail: "true"}, true, true},
		"must-fail, no program":    {scenarios.Step{MustFail: "exit 126"}, false, true},
		"must-fail, a signal":      {scenarios.Step{MustFail: "kill -9 $$"}, false, true},
		"run fails, which is that": {scenarios.Step{Run: "exit 1"}, false, true},
	} {
		err := newSite(t).Run(t.Context(), []scenarios.Step{c.step})
		if errors.As(err, new(*BrokenError)) != c.broken || (err != nil) != c.fail {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLoads expects what loads have done to be remembered, also of one that failed, and of one that goes on.
func TestLoads(t *testing.T) {
	s := newSite(t)
	s.server.Program("zfs-auto-snapshot", s.noting("auto")+`logger "@name," "2 created," "1 destroyed," "0 warnings."`)
	steps := []scenarios.Step{
		{Churn: &scenarios.Churn{Dataset: "tank/c", Files: 3, For: 2 * time.Second}},
		{SnapshotStorm: &scenarios.SnapshotStorm{Dataset: "tank/s", For: 3 * time.Second, Keep: 1}},
		{AutoSnapshot: &scenarios.AutoSnapshot{Label: "often", Keep: 9, Times: 2}},
	}
	if err := s.Run(t.Context(), steps); err != nil {
		t.Fatal(err)
	}
	work := s.Done().Work
	if len(work) != 3 {
		t.Fatalf("work is %+v", work)
	}
	for i, w := range work {
		if w.Step != steps[i].String() {
			t.Errorf("work %d is that of %s", i, w.Step)
		}
	}
	if c := work[0].Counts; c.Writes == 0 || c.Snapshots != 0 {
		t.Errorf("churn did %+v", c)
	}
	if c := work[1].Counts; c.Writes == 0 || c.Snapshots == 0 {
		t.Errorf("the storm did %+v", c)
	}
	if want := (trial.Counts{Snapshots: 4, Destroyed: 2, Runs: 2}); work[2].Counts != want {
		t.Errorf("zfs-auto-snapshot did %+v", work[2].Counts)
	}
	for _, line := range []string{"zfs list -H -o mountpoint tank/c", "zfs snapshot tank/s@storm-", "auto --quiet --syslog --label=often --keep=9 //"} {
		if !strings.Contains(s.noted(), line) {
			t.Errorf("no %q in\n%s", line, s.noted())
		}
	}
	s.server.Program("zfs-auto-snapshot", `[ -e `+s.path("once")+` ] && exit 1; touch `+s.path("once")+`; logger "@name," "1 created," "0 destroyed," "0 warnings."`)
	err := s.Run(t.Context(), steps[2:])
	if work := s.Done().Work; err == nil || len(work) != 4 || work[3].Counts != (trial.Counts{Snapshots: 1, Runs: 1}) {
		t.Errorf("one that failed did %+v, %v", work, err)
	}
	entered := s.fifo()
	s.server.Program("zfs-auto-snapshot", `[ -e `+s.path("twice")+` ] && { echo >`+entered+`; sleep 60; }; touch `+s.path("twice")+`; logger "@name," "1 created," "0 destroyed," "0 warnings."`)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx, steps[2:]) }()
	if _, err := os.ReadFile(entered); err != nil {
		t.Fatal(err)
	}
	// What a guest has printed may be under way yet.
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		work := s.Done().Work
		if len(work) == 5 && work[4].Counts == (trial.Counts{Snapshots: 1, Runs: 1}) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("one that goes on did %+v", work)
		}
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("one that was stopped: %v", err)
	}
	if err := s.Run(t.Context(), []scenarios.Step{{}}); err == nil || !strings.Contains(err.Error(), "no step of kind \"\" is known") {
		t.Errorf("a step without a field: %v", err)
	}
}

// TestTogether expects steps to run at the same time, and all of them to have ended afterwards.
func TestTogether(t *testing.T) {
	s := newSite(t)
	there, back := s.fifo(), s.fifo()
	steps := []scenarios.Step{{Run: "echo a >" + there + "; read x <" + back}, {Run: "read x <" + there + "; echo b >" + back}, {Sync: true}}
	if err := s.Run(t.Context(), []scenarios.Step{{Together: steps}}); err != nil || s.noted() != "zpool sync tank\n" {
		t.Errorf("%v, noted %q", err, s.noted())
	}
}

// TestTogetherFails expects the first error to end the others, however long they would go on.
func TestTogetherFails(t *testing.T) {
	s := newSite(t)
	there := s.fifo()
	steps := []scenarios.Step{{Run: "echo a >" + there + "; sleep infinity"}, {Must: "read x <" + there + "; echo full >&2; exit 9"}}
	err := s.Run(t.Context(), []scenarios.Step{{Together: steps}})
	if !errors.As(err, new(*BrokenError)) || !strings.Contains(err.Error(), "exit status 9: full") {
		t.Errorf("got %v", err)
	}
	if text := string(s.Output()); !strings.Contains(text, "sleep infinity: this must succeed") { // it was told why
		t.Errorf("the other one was not ended:\n%s", text)
	}
}

// TestCancelled expects a step that does not end to end with its context.
func TestCancelled(t *testing.T) {
	s := newSite(t)
	there := s.fifo()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		if _, err := os.ReadFile(there); err != nil {
			t.Error(err)
		}
		cancel()
	}()
	if err := s.Run(ctx, []scenarios.Step{{Run: "echo here >" + there + "; sleep infinity"}, {Sync: true}}); !errors.Is(err, context.Canceled) || s.noted() != "" {
		t.Errorf("%v, noted %q", err, s.noted())
	}
}

// TestSurvive expects what is handed out to be the receiver's own.
func TestSurvive(t *testing.T) {
	var w Worker
	w.Survive("one", []panics.Event{{Text: "a"}})
	d := w.Done()
	w.Survive("two", []panics.Event{{Text: "b"}, {Text: "c"}})
	if len(d.Survived) != 1 || len(d.Past) != 1 {
		t.Errorf("what was asked before is now %+v", d)
	}
	d = w.Done()
	d.Survived[0] = "other"
	if d = w.Done(); !slices.Equal(d.Survived, []string{"one", "two"}) || len(d.Past) != 3 || d.Past[2].Text != "c" {
		t.Errorf("got %+v", d)
	}
}

// TestRunWorkload expects what the preparation wrote to be verified, though another seed is at work.
func TestRunWorkload(t *testing.T) {
	s := newSite(t)
	r := scenarios.Resolved{
		Pool:     scenarios.Pool{Name: "tank"},
		Prepare:  []scenarios.Step{{Write: &scenarios.Write{File: s.path("before"), Size: 600, Content: "x"}}},
		Workload: []scenarios.Step{{Write: &scenarios.Write{File: s.path("f"), Size: 600, Content: "x"}}, {Sync: true}, {Run: "exit 5"}},
	}
	if err := os.WriteFile(s.path("before"), oracle.Content(0, "x", 600), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := RunWorkload(t.Context(), s.Guest, r, 3); err == nil || !strings.Contains(err.Error(), "exit status 5") {
		t.Errorf("got %v", err)
	}
	if data, err := os.ReadFile(s.path("f")); err != nil || !bytes.Equal(data, oracle.Content(3, "x", 600)) || s.noted() != "zpool sync tank\n" {
		t.Errorf("noted was %q, %v", s.noted(), err)
	}
	r.Workload = []scenarios.Step{{Verify: true}}
	s.server.Program("sha256sum", s.noting("sha256sum")+`PATH=${PATH#*:} exec sha256sum "$@"`) // the real one, which comes after the guest's own programs
	if err := RunWorkload(t.Context(), s.Guest, r, 3); err != nil || !strings.HasSuffix(s.noted(), "sha256sum -z -- "+s.path("before")+"\n") {
		t.Errorf("noted was %q, %v", s.noted(), err)
	}
}

func TestCheckWorkload(t *testing.T) {
	steps := []scenarios.Step{{Import: true}}
	for _, c := range []struct {
		step scenarios.Step
		fine bool
	}{
		{scenarios.Step{Sync: true}, true},
		{scenarios.Step{Verify: true}, true},
		{scenarios.Step{Run: "true"}, true},
		{scenarios.Step{Together: steps}, true},
		{scenarios.Step{Arm: true}, false},
		{scenarios.Step{Reboot: true}, false},
		{scenarios.Step{Panic: steps}, false},
		{scenarios.Step{Healthy: true}, false},
		{scenarios.Step{Must: "true"}, false},
		{scenarios.Step{MustFail: "false"}, false},
	} {
		err := CheckWorkload(scenarios.Resolved{Scenario: "scripted", Workload: []scenarios.Step{{Sync: true}, c.step}})
		if (err == nil) != c.fine || err != nil && err.Error() != "the workload of scripted has the step "+c.step.String()+", which only a trial can do" {
			t.Errorf("%s: %v", c.step, err)
		}
	}
}

// TestTranscript expects lines with times, whatever pieces they come in.
func TestTranscript(t *testing.T) {
	var out transcript
	p := out.printer()
	for _, piece := range []string{"a", "b\nc", "", "\n\nlast"} {
		if n, err := p.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Errorf("%d of %q, %v", n, piece, err)
		}
	}
	if before := out.bytes(); bytes.Contains(before, []byte("last")) {
		t.Errorf("a line is shown before its end:\n%s", before)
	}
	p.end()
	p.end()
	form := regexp.MustCompile(`^ +\d+\.\d{3} (.*)$`)
	var got []string
	for line := range strings.Lines(string(out.bytes())) {
		m := form.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			t.Fatalf("a line is %q", line)
		}
		got = append(got, m[1])
	}
	if want := []string{"  ab", "  c", "  ", "  last"}; !slices.Equal(got, want) {
		t.Errorf("lines are %q, want %q", got, want)
	}
}

// TestTranscriptIsCut expects no more to be kept than is said, be it in many lines or in a long one.
func TestTranscriptIsCut(t *testing.T) {
	for name, length := range map[string]int{"many lines": 1000, "a long line": 3 << 20} {
		var out transcript
		p := out.printer()
		line := []byte(strings.Repeat("x", length) + "\n")
		for range 2<<20/length + 1 {
			_, _ = p.Write(line) // it never fails
		}
		out.note("the last one")
		text := out.bytes()
		if len(text) > maxOutput || len(text) < maxOutput-len(line) || bytes.Contains(text, []byte("the last one")) {
			t.Errorf("%s: %d bytes are kept", name, len(text))
		}
	}
}
