package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/machine/libvirt"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
	"github.com/vdevil/vdevil/scenarios"
)

// command runs vdevil in directories of its own.
func command(t *testing.T, args ...string) (code int, out, err string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	a := &app{in: strings.NewReader(""), out: &stdout, err: &stderr}
	code = a.main(t.Context(), args)
	return code, stdout.String(), stderr.String()
}

// own gives a test empty directories of the lab.
func own(t *testing.T) host.Dirs {
	t.Helper()
	run, err := os.MkdirTemp("/tmp", "vd") // short: t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	t.Setenv("VDEVIL_ZFS_SOURCE", "")
	t.Setenv("XDG_RUNTIME_DIR", run)
	t.Setenv(libvirt.StorageVariable, t.TempDir())
	dirs, err := host.DefaultDirs()
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

// write makes a file in an empty directory that becomes the current one.
func write(t *testing.T, name, text string) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestWrongUsage(t *testing.T) {
	own(t)
	for _, c := range []struct {
		args string
		says string
	}{
		{"rum", `unknown command "rum" for "vdevil"`},
		{"rum", "Did you mean this?\n\trun"},
		{"run --nosuch", "unknown flag: --nosuch\nsee vdevil run --help"},
		{"run --trials many", `invalid argument "many" for "--trials"`},
		{"run --trials -1", `invalid argument "-1" for "--trials"`},
		{"run --seed 0x", `invalid argument "0x" for "--seed"`},
		{"run --keep some", "write failed, all or none"},
		{"run --driver xen", "write qemu or libvirt"},
		{"run --connect qemu:///session", "--connect"},
		{"run --only flip", "such as no-fault/3"},
		{"run --only flip/0", "such as no-fault/3"},
		{"run --only flip/3", "--only repeats a trial of one scenario: name it"},
		{"run blkptr-dva-flip --only flop/3", "--only: scenario blkptr-dva-flip has no arm \"flop\"; write flip"},
		{"run --zfs nowhere/zfs", `no recipe for OpenZFS "nowhere/zfs"`},
		{"run --zfs 2.3.1", `no recipe for OpenZFS "2.3.1"; write 2.1.11, 2.3.2,`},
		{"run legacy-dedup-gang --zfs 2.1.11", "--zfs: none of the scenarios can be asked of OpenZFS 2.1.11"},
		{"run blkptr-dva-flap", `there is no scenario "blkptr-dva-flap"; write blkptr-dva-flip`},
		{"run ./nosuch.yaml", "open ./nosuch.yaml: no such file"},
		{"run nosuch.yaml", "open ./nosuch.yaml: no such file"},
		{"list blkptr-dva-flap", "write blkptr-dva-flip"},
		{"doctor now", `unknown command "now" for "vdevil doctor"`},
		{"image bild", `unknown command "bild" for "vdevil image"`},
		{"image build 2.3.1", `no recipe for OpenZFS "2.3.1"`},
		{"image rm", "name versions, or write --all"},
		{"image rm 2.3.2 --all", "name versions, or write --all"},
		{"image rm 2.3.1", `no recipe for OpenZFS "2.3.1"`},
		{"run --name a/b", "write letters, digits, and . _ + - between them"},
		{"run --shard 3/2", "write which part of how many, such as 2/8"},
		{"run --budget soon", `invalid argument "soon" for "--budget"`},
		{"show", "no campaign was stored yet"},
		{"show tonight", `no campaign "tonight" was stored; vdevil runs lists those that were`},
		{"show tonight/x/arm", "write RUN, RUN/SCENARIO or RUN/SCENARIO/ARM/N"},
		{"show tonight/x/arm/one", "write RUN, RUN/SCENARIO or RUN/SCENARIO/ARM/N"},
		{"resume tonight", `no campaign "tonight" was stored`},
		{"rm tonight", `no campaign "tonight" was stored`},
		{"repeat nowhere", "is no bundle and names no trial; write RUN/SCENARIO/ARM/N or the directory of a bundle"},
		{"repeat /proc/self", "/proc/self is no bundle of a trial"},
		{"image source 2.3.2", "accepts 2 arg(s), received 1"},
		{"image source 2.3.1 zfs", `there is no recipe for OpenZFS "2.3.1"`},
		{"bisect", "accepts 1 arg(s), received 0"},
		{"bisect blkptr-dva-flip --old 2.3.2", "name both ends with --old and --new"},
		{"bisect blkptr-dva-flip --old 2.3.1 --new 2.3.2", `no recipe for OpenZFS "2.3.1"; write 2.1.11, 2.3.2, 2.3.9 or 2.4.4, a revision of a checkout with --source DIR`},
		{"bisect blkptr-dva-flip --old 2.3.2 --new 2.3.9 --prior x", "--prior: prior \"x\": it must be GLOB=WEIGHT"},
		{"bisect blkptr-dva-flip --old 2.3.2 --new 2.3.9 --arm flop", "--arm: scenario blkptr-dva-flip has no arm \"flop\"; write flip"},
		{"hunt now", `unknown command "now" for "vdevil hunt"`},
		{"hunt --features dedupe", `--features: "dedupe" is unknown; write some of [dedup reflink`},
		{"step nowhere", "is no bundle and names no trial; write RUN/SCENARIO/ARM/N or the directory of a bundle"},
		{"step x --at 3s", `--at: "3s" is no place in code; write a function`},
		{"step x --hit 3", "--hit and --when need a place in --at"},
		{"step x --at zio_free --when txg", `--when: "txg" is no condition; write for example txg=42`},
		{"run flush-lies --exact", "--exact: flush-lies.yaml:"},
		{"hunt --draw 0", "--draw, --operations and --trials: write 1 at least"},
		{"hunt --faults disk", `--faults: "disk" is unknown; write none, power or memory`},
		{"hunt --faults power --scenario random-bits", "--faults and --scenario: the scenario says which fault there is"},
		{"hunt --zfs 2.3.1", `no recipe for OpenZFS "2.3.1"`},
		{"hunt --zfs 2.3.2:2.3.1", `no recipe for OpenZFS "2.3.1"`},
		{"minimize", "accepts 1 arg(s), received 0"},
		{"minimize blkptr-dva-flip", "the workload of blkptr-dva-flip has no step operations; of one with generate, name a trial"},
		{"minimize random-operations", "the workload of random-operations has no step operations; of one with generate, name a trial"},
		{"minimize vdev-bitrot-mirror", "vdev-bitrot-mirror says no signature and no outcome: name one with --signature or --outcome"},
		{"minimize blkptr-dva-flip --rate 2", "--rate: 2 is not above 0 and at most 1"},
		{"minimize blkptr-dva-flip --signature a@b --outcome latent", "--signature and --outcome: give one of them"},
		{"minimize tonight/x/arm/1", `no campaign "tonight" was stored`},
		{"minimize /proc/self", "/proc/self is no bundle of a trial"},
		{"minimize blkptr-dva-flop", `there is no scenario "blkptr-dva-flop"`},
		{"bisect status tonight", `no campaign "tonight" was stored`},
		{"shell", "accepts 1 arg(s), received 0"},
		{"shell blkptr-dva-flip --arm flop", "--arm: scenario blkptr-dva-flip has no arm \"flop\"; write flip"},
		{"shell blkptr-dva-flip --zfs 2.3.1", `no recipe for OpenZFS "2.3.1"`},
	} {
		code, out, err := command(t, strings.Fields(c.args)...)
		if code != misused || !strings.Contains(err, c.says) {
			t.Errorf("vdevil %s: status %d, %q; want %d, %q", c.args, code, err, misused, c.says)
		}
		if out != "" || strings.Contains(err, "Usage:") {
			t.Errorf("vdevil %s prints more than the mistake: %q %q", c.args, out, err)
		}
	}
}

func TestBadFile(t *testing.T) {
	own(t)
	write(t, "mine.yaml", "name: mine\nquestion: Does it?\ntrails: 3\n")
	for _, c := range []string{"run", "list", "shell"} {
		code, _, err := command(t, c, "mine.yaml")
		if code != misused || !strings.Contains(err, "./mine.yaml:3: ") || !strings.Contains(err, "trials") {
			t.Errorf("%s: status %d, %q; want %d, the line, and what to write instead", c, code, err, misused)
		}
	}
}

func TestHelp(t *testing.T) {
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Short == "" || c.Long == "" || c.Example == "" {
			t.Errorf("%s lacks a short help, a long one or examples", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit((&app{}).root())
	code, out, _ := command(t, "run", "--help")
	for _, flag := range []string{"--zfs", "--trials", "--jobs", "--seed", "--only", "--json", "--keep", "--yes", "--driver", "--mirror"} {
		if code != held || !strings.Contains(out, flag+" ") {
			t.Errorf("vdevil run --help does not tell of %s", flag)
		}
	}
}

func TestList(t *testing.T) {
	all, err := scenarios.Embedded()
	if err != nil || len(all) == 0 {
		t.Fatal(len(all), err)
	}
	code, out, stderr := command(t, "list")
	if code != held || stderr != "" {
		t.Fatalf("status %d, %s", code, stderr)
	}
	if n := strings.Count(out, "\n"); n != len(all)+1 {
		t.Errorf("%d lines for %d scenarios:\n%s", n, len(all), out)
	}
	has := func(out string, words ...string) {
		t.Helper()
		for _, want := range words {
			if !strings.Contains(out, want) {
				t.Errorf("the list lacks %q:\n%s", want, out)
			}
		}
	}
	for _, s := range all {
		has(out, s.Name, s.Question, string(s.Expect.Verdict))
		_, details, _ := command(t, "list", s.Name)
		has(details, s.Question, string(s.Cause), s.Expect.Signature, s.Arms[0].Name)
	}
	_, out, _ = command(t, "list", "--json")
	var list []entry
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != len(all) {
		t.Fatalf("%d of %d scenarios: %v", len(list), len(all), err)
	}
	for i, e := range list {
		if s := all[i]; e.Name != s.Name || e.Cause != s.Cause || e.Cost != s.Cost || len(e.Arms) != len(s.Arms) {
			t.Errorf("%+v differs from %s", e, s.Name)
		}
	}
}

func TestListFile(t *testing.T) {
	all, err := scenarios.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	write(t, "mine.yaml", strings.Replace(all[0].Source, "name: "+all[0].Name, "name: mine", 1))
	code, out, stderr := command(t, "list", "mine.yaml")
	if code != held || !strings.HasPrefix(out, "mine") || strings.Contains(out, all[0].Name+" ") {
		t.Errorf("status %d: %s%s", code, out, stderr)
	}
}

func TestVersion(t *testing.T) {
	if code, out, _ := command(t, "version"); code != held || !strings.HasPrefix(out, "vdevil "+lab.Version) {
		t.Errorf("status %d, %q", code, out)
	}
	_, out, _ := command(t, "version", "--json")
	var v versions
	if err := json.Unmarshal([]byte(out), &v); err != nil || v.Version != lab.Version || v.Go == "" {
		t.Errorf("%q: %+v %v", out, v, err)
	}
}

func TestDoctor(t *testing.T) {
	dirs := own(t)
	code, out, stderr := command(t, "doctor")
	ready := true
	for _, c := range host.Doctor(t.Context(), dirs) {
		word := "good"
		if !c.OK {
			word, ready = "BAD", false
			if !strings.Contains(stderr, c.Name) {
				t.Errorf("the message does not name %s: %q", c.Name, stderr)
			}
		}
		if !regexp.MustCompile(`(?m)^` + word + ` +` + regexp.QuoteMeta(c.Name) + ` `).MatchString(out) {
			t.Errorf("no line says that %s is %s:\n%s", c.Name, word, out)
		}
	}
	if want := map[bool]int{true: held, false: trouble}[ready]; code != want {
		t.Errorf("status %d, want %d", code, want)
	}
	_, out, _ = command(t, "doctor", "--json")
	var checks []host.Check
	if err := json.Unmarshal([]byte(out), &checks); err != nil || len(checks) == 0 {
		t.Errorf("%d checks: %v", len(checks), err)
	}
}

func TestDiagnosis(t *testing.T) {
	var out bytes.Buffer
	checks := []host.Check{
		{Name: "disk", OK: true, Detail: "70 GiB free"},
		{Name: "memory", Detail: "1 GiB available", Remedy: "end other programs"},
	}
	if err := (&app{out: &out}).diagnosis(checks); err != nil {
		t.Fatal(err)
	}
	const want = "good  disk    70 GiB free\nBAD   memory  1 GiB available\n              -> end other programs\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	if err := sick(checks); status(err) != trouble || !strings.HasSuffix(err.Error(), ": memory") {
		t.Errorf("status %d, %v", status(err), err)
	}
	if err := sick(checks[:1]); err != nil {
		t.Error(err)
	}
}

func TestImages(t *testing.T) {
	own(t)
	recipes, err := images.Recipes()
	if err != nil {
		t.Fatal(err)
	}
	code, out, stderr := command(t, "image", "list")
	if code != held || strings.Count(out, "not built") != len(recipes) || strings.Count(out, "(default)") != 1 {
		t.Errorf("status %d: %s%s", code, out, stderr)
	}
	_, out, _ = command(t, "image", "list", "--json")
	var list []versionEntry
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != len(recipes) || strings.Contains(out, "null") {
		t.Errorf("%v: %s", err, out)
	}
	if code, _, stderr := command(t, "image", "rm", recipes[0].OpenZFS); code != trouble || stderr == "" {
		t.Errorf("removing what is not there: status %d, %q", code, stderr)
	}
	if code, _, stderr := command(t, "image", "rm", "--all"); code != held {
		t.Errorf("removing all of nothing: status %d, %q", code, stderr)
	}
}

func TestGC(t *testing.T) {
	dirs := own(t)
	if code, out, stderr := command(t, "gc"); code != held || out != "nothing to remove\n" {
		t.Errorf("status %d: %q %q", code, out, stderr)
	}
	left := filepath.Join(dirs.Run, "0123")
	if err := host.Claim(left); err != nil {
		t.Fatal(err)
	}
	if _, out, _ := command(t, "gc"); out != "nothing to remove\n" {
		t.Errorf("what belongs to a living lab is removed: %q", out)
	}
	files, err := filepath.Glob(filepath.Join(left, "*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	gone := host.Process{PID: 1 << 30, Started: 1}
	if err := os.WriteFile(files[0], []byte(gone.String()+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := command(t, "gc"); code != held || out != "removed "+left+"\n" {
		t.Errorf("status %d: %q", code, out)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Error("it is still there")
	}
}

func TestStatus(t *testing.T) {
	_, noFile := find([]string{"./nosuch.yaml"})
	_, noName := find([]string{"nosuch"})
	_, wrong := scenarios.Parse("a.yaml", []byte("name: a\n"))
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, held},
		{&notHeldError{"one"}, notHeld},
		{fmt.Errorf("run: %w", &notHeldError{"one"}), notHeld},
		{usage(errors.New("no")), misused},
		{noFile, misused},
		{noName, misused},
		{wrong, misused},
		{errors.New("out of luck"), trouble},
		{context.Canceled, trouble},
		{&host.MissingError{}, trouble},
		{usage(nil), held},
	} {
		if got := status(c.err); got != c.want {
			t.Errorf("%v: status %d, want %d", c.err, got, c.want)
		}
	}
}

// What is not the commit's fault ends git's bisection, rather than call the commit bad.
func TestBisectStatus(t *testing.T) {
	own(t)
	for args, says := range map[string]string{
		"run --bisect": "--bisect has one answer: name one scenario, and one version",
		"run blkptr-dva-flip --bisect --zfs 2.3.2,2.3.9": "--bisect has one answer",
		"run nothing --bisect":                           "nothing",
		"run blkptr-dva-flip --bisect --nothing":         "unknown flag: --nothing",
		"run blkptr-dva-flip --zfs ./none --bisect":      "./none",
	} {
		if code, _, err := command(t, strings.Fields(args)...); code != gitAbort || !strings.Contains(err, says) {
			t.Errorf("vdevil %s: status %d, %s", args, code, err)
		}
	}
	if err := forGit(nil, fmt.Errorf("zfs-0.8: %w", images.ErrNoKernel)); status(err) != gitSkip {
		t.Errorf("no kernel: status %d", status(err))
	}
}

func TestTell(t *testing.T) {
	ok := verdict.Summary{Scenario: "a", OpenZFS: "2.3.2", Held: true, Arms: []verdict.Arm{{Name: "x", Trials: 1, Valid: 1}}}
	bad := verdict.Summary{Scenario: "b", OpenZFS: "2.3.2", Arms: []verdict.Arm{{Name: "x", Trials: 1}}}
	only := pick{&campaign.Pick{Arm: "x", Number: 1}}
	ended := errors.New("ended early: interrupt")
	for name, c := range map[string]struct {
		flags   runFlags
		results []verdict.Summary
		err     error
		want    int
		says    string
	}{
		"held":             {results: []verdict.Summary{ok}, want: held},
		"one not held":     {results: []verdict.Summary{ok, bad}, want: notHeld, says: "1 of 2 expectations did not hold: b on OpenZFS 2.3.2"},
		"interrupted":      {results: []verdict.Summary{ok}, err: ended, want: trouble, says: "ended early"},
		"interrupted, bad": {results: []verdict.Summary{bad}, err: ended, want: trouble, says: "ended early"},
		"nothing judged":   {err: ended, want: trouble, says: "ended early"},
		"repeated":         {flags: runFlags{only: only}, results: []verdict.Summary{{Arms: ok.Arms}}, want: held},
		"invalid":          {flags: runFlags{only: only}, results: []verdict.Summary{{Arms: bad.Arms}}, want: trouble, says: "invalid"},
	} {
		for _, asJSON := range []bool{false, true} {
			var out bytes.Buffer
			c.flags.json = asJSON
			err := (&app{out: &out}).tell(trial.Environment{}, c.flags, nil, c.results, c.err)
			if got := status(err); got != c.want || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: status %d, %v; want %d", name, got, err, c.want)
			}
			if asJSON {
				oneDocument(t, name, &out, len(c.results), c.err)
			} else if len(c.results) > 0 && out.Len() == 0 {
				t.Errorf("%s: nothing is printed", name)
			}
		}
	}
}

func oneDocument(t *testing.T, name string, out io.Reader, results int, ended error) {
	t.Helper()
	dec := json.NewDecoder(out)
	var d report.Document
	if err := dec.Decode(&d); err != nil || len(d.Results) != results || (d.Error != "") != (ended != nil) {
		t.Errorf("%s: %d results, error %q, %v", name, len(d.Results), d.Error, err)
	}
	if err := dec.Decode(&d); !errors.Is(err, io.EOF) {
		t.Errorf("%s: more than one document: %v", name, err)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	some := errors.New("the guest went away")
	if err := interrupted(ctx, some); !errors.Is(err, some) {
		t.Errorf("got %v", err)
	}
	cancel(errors.New("a signal"))
	if err := interrupted(ctx, some); err.Error() != "ended early: a signal" {
		t.Errorf("got %v", err)
	}
	if err := interrupted(ctx, nil); err != nil {
		t.Errorf("a run that came to its end is called interrupted: %v", err)
	}
}

// Ctrl-C must end a question that nobody answers.
func TestAnswersEnd(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	a := &answers{ctx, r}
	go func() { _, _ = w.Write([]byte("yes\n")) }()
	p := make([]byte, 16)
	if n, err := a.Read(p); err != nil || string(p[:n]) != "yes\n" {
		t.Fatalf("read %q, %v", p[:n], err)
	}
	cancel()
	if _, err := a.Read(p); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestCheck expects what is wrong with each file, with its line, and what a right one would do.
func TestCheck(t *testing.T) {
	own(t)
	code, out, stderr := command(t, "check", "../../../scenarios/blkptr-dva-flip.yaml")
	if code != held || !strings.Contains(out, "right: fault arms: 1, control arms: 1, checkpoints: 1, at most 20 trials") || stderr != "" {
		t.Errorf("status %d: %q %q", code, out, stderr)
	}
	wrong := filepath.Join(t.TempDir(), "wrong.yaml")
	if err := os.WriteFile(wrong, []byte("name: wrong\nquestoin: Why?\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	code, out, stderr = command(t, "check", wrong, "../../../scenarios/blkptr-dva-flip.yaml", "./none.yaml")
	if code != misused || !strings.Contains(out, "right: ") || !strings.Contains(stderr, wrong+":2: a scenario has no key \"questoin\"; write question") ||
		!strings.Contains(stderr, "none.yaml") {
		t.Errorf("status %d: %q %q", code, out, stderr)
	}
	code, out, stderr = command(t, "check", "--format", "../../../scenarios/blkptr-dva-flip.yaml")
	if code != held || stderr != "" || !strings.Contains(out, "\nmachine: {cpus: 2, memory: 1GiB, disks: {v0: 512MiB, v1: 512MiB}}\n") || strings.Contains(out, "#") {
		t.Errorf("status %d: %q %q", code, out, stderr)
	}
	if code, _, stderr := command(t, "check"); code != misused || stderr == "" {
		t.Errorf("no file: status %d, %q", code, stderr)
	}
}
