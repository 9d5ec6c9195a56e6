package guest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vdevil/vdevil/lab/ops"
	"github.com/vdevil/vdevil/lab/oracle"
)

// TestDo lets the helper do random operations on files of this computer, and expects them to be what the model says: two answers to what
// each operation does, of which neither knows the other.
func TestDo(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "t") // a path as that of a dataset
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := newServer(t)
	// What is of the pool goes well and does nothing.
	s.Program("sh", "exit 0")
	g := connect(t, s, s.machine())
	place := ops.Place{Pool: "tmp", Seed: 7}
	name := filepath.Base(dir)
	p := ops.Generate(5, []ops.Feature{"hole", "map", "names", "reflink", "syncing"}, 300, place, nil, nil)
	p, err = ops.Parse(strings.NewReplacer("/tmp/a/", dir+"/", "tmp/a", "tmp/"+name).Replace(p.String()))
	if err != nil {
		t.Fatal(err)
	}
	m := ops.NewModel(place)
	// As in /proc/spl/kstat/zfs.
	txgs := filepath.Join(dir, "txgs")
	if err := os.WriteFile(txgs, []byte("txg state\n7 C\n8 O\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	requests := make([]ops.Request, 0, len(p))
	for _, o := range p {
		r := o.Request(place)
		switch o.Word {
		case "parameter":
			r = ops.Request{Do: "put", Path: filepath.Join(dir, "parameter"), Value: "1"}
		case "begin-sync":
			r.Path, r.Command = txgs, [][]string{{"bash", "-c", `echo "$RANDOM O" >>` + txgs}}
		}
		requests = append(requests, r)
	}
	refused, read, n := 0, 0, 0
	err = g.Do(t.Context(), requests, func(i int, a ops.Answer) {
		n++
		fate, why := m.Foretell(p[i])
		full := p[i].Word == "xattr" && a.Errno == int(unix.ENOSPC) // as ext4 has little room for attributes
		if a.Error == "" && fate == ops.Refused || a.Error != "" && fate == ops.Succeeds && !full {
			t.Errorf("%s: %+v, and must %s: %s", p[i], a, fate, why)
		}
		if fate == ops.Refused {
			refused++
			if a.Errno == 0 {
				t.Errorf("%s was refused without a number: %+v", p[i], a)
			}
		}
		if _, data, reads := m.Reads(p[i]); reads {
			read++
			if a.Sum != fmt.Sprintf("%x", sha256.Sum256(data)) {
				t.Errorf("%s: %+v", p[i], a)
			}
		}
		m.Note(p[i], a.Error == "")
	})
	if err != nil || n != len(p) || refused < 5 || read < 5 {
		t.Fatalf("%d of %d, %d of them refused and %d read: %v", n, len(p), refused, read, err)
	}
	var want oracle.Oracle
	m.Expect(&want)
	if len(want.Files()) < 3 {
		t.Errorf("only %q are left", want.Files())
	}
	findings, err := g.Verify(t.Context(), &want)
	if err != nil || len(findings.Of(oracle.Intact)) != len(want.Files()) {
		t.Errorf("%+v, %v", findings, err)
	}
	// One byte is enough to tell.
	victim := want.Files()[0]
	data, err := os.ReadFile(victim)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(victim, append(bytes.Clone(data), 0), 0o600); err != nil {
		t.Fatal(err)
	}
	findings, err = g.Verify(t.Context(), &want)
	if wrong := findings.Of(oracle.Wrong); err != nil || len(wrong) != 1 || wrong[0] != victim {
		t.Errorf("of a changed file: %+v, %v", findings, err)
	}
}

// TestDoCommands expects pipes, statuses and the last words of commands, and a program in the guest that leaves no file behind.
func TestDoCommands(t *testing.T) {
	s := newServer(t)
	temporary := t.TempDir()
	s.Program("mktemp", "f="+temporary+"/helper; : >$f; echo $f")
	g := connect(t, s, s.machine())
	run := func(commands ...[]string) ops.Request { return ops.Request{Do: "run", Command: commands} }
	var answers []ops.Answer
	err := g.Do(t.Context(), []ops.Request{
		run([]string{"echo", "a"}, []string{"grep", "-q", "a"}),
		run([]string{"echo", "a"}, []string{"grep", "-q", "b"}),
		run([]string{"bash", "-c", "echo first >&2; echo no space >&2; exit 3"}, []string{"cat"}),
		run([]string{"/nonexistent"}),
		{Do: "frobnicate"},
	}, func(_ int, a ops.Answer) { answers = append(answers, a) })
	if err != nil || len(answers) != 5 {
		t.Fatalf("%+v %v", answers, err)
	}
	if answers[0] != (ops.Answer{}) || answers[1].Status != 1 || answers[3].Errno != 2 || answers[4].Error != `no operation "frobnicate"` {
		t.Errorf("%+v", answers)
	}
	if a := answers[2]; a.Status != 3 || !strings.HasSuffix(a.Error, `exit status 3: "no space"`) {
		t.Errorf("%+v", a)
	}
	if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

// TestBeginSync expects the helper to go on when another transaction group is open, before the pool is synced, and to say so where it
// cannot be.
func TestBeginSync(t *testing.T) {
	s := newServer(t)
	g := connect(t, s, s.machine())
	txgs := filepath.Join(t.TempDir(), "txgs")
	if err := os.WriteFile(txgs, []byte("txg state\n7 C\n8 O\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	begin := func(path, command string) ops.Request {
		return ops.Request{Do: "begin-sync", Path: path, Command: [][]string{{"bash", "-c", command}}}
	}
	var answers []ops.Answer
	err := g.Do(t.Context(), []ops.Request{
		begin(txgs, "echo '9 O' >>"+txgs+"; sleep 1; echo synced >>"+txgs),
		{Do: "read", Path: txgs},
		begin(txgs, "exit 3"),
		begin(txgs, "true"),
		begin(txgs+".none", "true"),
	}, func(_ int, a ops.Answer) { answers = append(answers, a) })
	if err != nil || len(answers) != 5 {
		t.Fatalf("%+v %v", answers, err)
	}
	if answers[1].Sum != fmt.Sprintf("%x", sha256.Sum256([]byte("txg state\n7 C\n8 O\n9 O\n"))) {
		t.Errorf("what came next was done after the sync, or before the next group was opened: %+v", answers[:2])
	}
	if answers[0] != (ops.Answer{}) || answers[2].Status != 3 || answers[3] != (ops.Answer{}) || answers[4].Errno != 2 {
		t.Errorf("%+v", answers)
	}
}
