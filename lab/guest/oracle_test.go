package guest

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestContent(t *testing.T) {
	// Pinned: a checkpoint's files must be the same on the next host and with the next release of Go.
	const want = "bdcddf35d8bbb8387e4b8d6344378e80"
	if got := hex.EncodeToString(Content(17313, "f1", 16)); got != want {
		t.Errorf("got %s", got)
	}
	long := Content(17313, "f1", 1<<16)
	if !bytes.HasPrefix(long, Content(17313, "f1", 16)) {
		t.Error("a longer content begins differently")
	}
	for _, other := range [][]byte{Content(17314, "f1", 1<<16), Content(17313, "f2", 1<<16)} {
		if bytes.Equal(long[:64], other[:64]) {
			t.Error("seed or label does not matter")
		}
	}
}

func TestOracle(t *testing.T) {
	s := newServer(t)
	g := connect(t, s, s.machine())
	dir := t.TempDir()
	var o Oracle
	if findings, err := o.Verify(t.Context(), g); err != nil || len(findings) > 0 {
		t.Errorf("an oracle that knows nothing: %v %v", findings, err)
	}
	for _, name := range []string{"a", "b b", "c\nc", `d\d`, "e'ü", "-f", "wrong", "short", "missing 1", "missing\n2", "unreadable"} {
		data := Content(1, name, 5000)
		path := filepath.Join(dir, name)
		o.Record(path, data)
		switch {
		case name == "wrong":
			data[4999] ^= 1
		case name == "short":
			data = data[:4999]
		case strings.HasPrefix(name, "missing"):
			continue
		case name == "unreadable":
			if err := os.Mkdir(path, 0o755); err != nil { // unreadable for root, too
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	findings, err := o.Verify(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	for result, want := range map[Result][]string{
		Intact:     {"-f", "a", "b b", "c\nc", `d\d`, "e'ü"},
		Wrong:      {"short", "wrong"},
		Missing:    {"missing\n2", "missing 1"},
		Unreadable: {"unreadable"},
	} {
		got := make([]string, 0, len(want))
		for _, path := range findings.Of(result) {
			got = append(got, filepath.Base(path))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", result, got, want)
		}
	}
	if len(findings) != len(o.Files()) {
		t.Errorf("%d findings for %d files", len(findings), len(o.Files()))
	}
}

func TestOracleJudgesErrors(t *testing.T) {
	var o Oracle
	o.Record("/tank/a", nil)
	o.Record("/tank/b: No such file or directory", nil)
	const eio = "sha256sum: '/tank/b: No such file or directory': Input/output error\n"
	sumOfNothing := "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  /tank/a\x00"
	findings, err := o.judge(o.Files(), Output{Stdout: []byte(sumOfNothing), Stderr: []byte(eio)})
	want := Findings{{"/tank/a", Intact, ""}, {"/tank/b: No such file or directory", Unreadable, "Input/output error"}}
	if err != nil || !slices.Equal(findings, want) {
		t.Errorf("got %v %v", findings, err)
	}
	for name, output := range map[string]Output{
		"nothing":          {},
		"one silent":       {Stdout: []byte(sumOfNothing)},
		"a warning beside": {Stdout: []byte(sumOfNothing), Stderr: []byte("warning\n" + eio)},
		"no digest":        {Stdout: []byte("xyz  /tank/a\x00"), Stderr: []byte(eio)},
		"other files":      {Stdout: []byte(strings.ReplaceAll(sumOfNothing, "/tank/a", "/tank/c")), Stderr: []byte(eio)},
	} {
		if findings, err := o.judge(o.Files(), output); err == nil {
			t.Errorf("%s gave %v", name, findings)
		}
	}
}

func TestOracleAsJSON(t *testing.T) {
	var before, after Oracle
	before.Record("/tank/a b", []byte("x"))
	text, err := json.Marshal(&before)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"/tank/a b":"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}`
	if string(text) != want {
		t.Errorf("got %s", text)
	}
	if err := json.Unmarshal(text, &after); err != nil || after.files["/tank/a b"] != before.files["/tank/a b"] {
		t.Errorf("%v: got %v", err, after.files)
	}
	for _, bad := range []string{`{"a":"00"}`, `{"a":"zz"}`, `[]`} {
		if err := json.Unmarshal([]byte(bad), &after); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}
