package drive

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/ops"
	"github.com/vdevil/vdevil/lab/oracle"
	"github.com/vdevil/vdevil/scenarios"
)

// TestOperations expects a program to be done, what it wrote to be known to the oracle, and what goes otherwise than the model says to be
// a result.
func TestOperations(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "t") // a path as that of a dataset
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	name := "tmp/" + filepath.Base(dir)
	for _, c := range []struct{ program, broken string }{
		{"create D\nwrite /D/f1 0 100 1\nfill /D/f2 5 5 x\nsync\nsnapshot D@s1\nremove /D/f9", ""},
		{"create D\nremove /D/f1\nwrite /D/f1 0 100 1", ""},
		{"create D\nwrite /D/none/f1 0 1 1", "no such word"},
		{"create D\ncreate D", `"create D" was done and must be refused: there is a dataset D`},
		{"create D\nfill /D/f1 0 100 a\npunch /D/f1 0 10\ndestroy D\nsync\nsync", ""},
		{"create D\nsnapshot D@full\nsnapshot D@full\nsync", ""},
		{"create D\nsnapshot D@fails\nsync", `"snapshot D@fails" must succeed: sh -c zfs snapshot D@fails: exit status 1: "out of luck"`},
	} {
		s := newSite(t)
		s.server.Program("zfs", s.noting("zfs")+`case $2 in *fails) echo out of luck >&2; exit 1;; *full) echo "cannot create snapshot: out of space" >&2; exit 1;; esac`)
		s.Pool = "tmp"
		for _, f := range []string{"f1", "f2"} {
			_ = os.Remove(filepath.Join(dir, f)) // of the case before
		}
		program := strings.ReplaceAll(c.program, "D", name)
		err := s.Run(t.Context(), []scenarios.Step{{Operations: program}})
		if c.broken == "no such word" {
			if err == nil || !strings.Contains(err.Error(), "is not the path of a file") {
				t.Errorf("%s: %v", program, err)
			}
			continue
		}
		var broken *BrokenError
		if c.broken != "" {
			if want := strings.ReplaceAll(c.broken, "D", name); !errors.As(err, &broken) || broken.Reason != want {
				t.Errorf("%s:\n%v, want %s", program, err, want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", program, err)
			continue
		}
		lines := strings.Split(program, "\n")
		if got, last := s.Done().Step, lines[len(lines)-1]; !strings.HasSuffix(got, last) {
			t.Errorf("the last step was %q, not %s", got, last)
		}
		if !strings.Contains(string(s.Output()), lines[len(lines)-1]) {
			t.Errorf("no %s in\n%s", lines[len(lines)-1], s.Output())
		}
		if err := s.Run(t.Context(), []scenarios.Step{{Verify: true}}); err != nil {
			t.Error(err)
		}
		snapshots := 0
		for _, f := range s.Done().Findings {
			if strings.Contains(f.Path, "/.zfs/") {
				snapshots++ // there are none here
			} else if f.Result != "ok" {
				t.Errorf("%s: %+v", program, f)
			}
		}
		if strings.Contains(program, "@s1") != (snapshots == 2) {
			t.Errorf("%s: %d files of snapshots are known", program, snapshots)
		}
	}
}

// TestOperationsCut expects what operations did to be forgotten with the power where it was not synced, and only there.
func TestOperationsCut(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "t") // a path as that of a dataset
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, c := range []struct {
		last    string
		missing int
	}{{"parameter zfs_txg_timeout 5", 1}, {"sync", 2}} {
		s := newSite(t)
		s.Pool = "tmp"
		s.Reboot = func(context.Context) error { return errors.Join(os.Remove(dir+"/f1"), os.Remove(dir+"/f2")) }
		program := strings.ReplaceAll("create D\nwrite /D/f1 0 100 1\nsync\nwrite /D/f2 0 100 2\n"+c.last, "D", "tmp/"+filepath.Base(dir))
		if err := s.Run(t.Context(), []scenarios.Step{{Operations: program}, {Reboot: true}, {Verify: true}}); err != nil {
			t.Fatal(err)
		}
		if got := s.Done().Findings.Of(oracle.Missing); len(got) != c.missing {
			t.Errorf("%s: missing are %q, want %d", program, got, c.missing)
		}
	}
}

// TestMisread expects a file that an operation read to be wrong to stay so, though it is right afterwards.
func TestMisread(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "t") // a path as that of a dataset
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := newSite(t)
	s.Pool = "tmp"
	f := dir + "/f1"
	// Here a bookmark damages a file, and a snapshot mends it.
	s.server.Program("zfs", "case $1 in bookmark) echo other >>"+f+";; snapshot) truncate -s 100 "+f+";; esac")
	program := strings.ReplaceAll("create D\nwrite /D/f1 0 100 1\nread /D/f1\nsnapshot D@s1\nread /D/f1\nBREAK\nread /D/f1\nsnapshot D@s2", "D", "tmp/"+filepath.Base(dir))
	for broken, want := range map[string]int{"bookmark D@s1 b1": 1, "sync": 0} {
		s.misreads = nil
		p := strings.ReplaceAll(program, "BREAK", strings.ReplaceAll(broken, "D", "tmp/"+filepath.Base(dir)))
		if err := s.Run(t.Context(), []scenarios.Step{{Operations: p}, {Verify: true}}); err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		if got := s.Done().Findings.Of(oracle.Wrong); len(got) != want || want > 0 && got[0] != f {
			t.Errorf("%s: wrong are %q", p, got)
		}
		s.model = nil
	}
}

// TestProgram expects generated programs to follow from the seed, and to draw features by it.
func TestProgram(t *testing.T) {
	step := scenarios.Step{Generate: &scenarios.Generate{Count: 30, Features: ops.Features(), Draw: 2}}
	texts := map[string]bool{}
	for seed := range uint64(10) {
		p, err := Program(step, "tank", []string{"v0", "v1"}, []string{"v0"}, seed)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Program(step, "tank", []string{"v0", "v1"}, []string{"v0"}, seed)
		if err != nil || again.String() != p.String() {
			t.Errorf("seed %d gives two programs, %v", seed, err)
		}
		texts[p.String()] = true
		if strings.Contains(p.String(), "add v0\n") {
			t.Errorf("seed %d adds a disk that the pool has:\n%s", seed, p)
		}
	}
	if len(texts) != 10 {
		t.Errorf("10 seeds give %d programs", len(texts))
	}
}
