package oracle

import (
	"bytes"
	"encoding/hex"
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

func TestCompare(t *testing.T) {
	var o Oracle
	o.Record("/tank/a", nil)
	o.Record("/tank/b: No such file or directory", nil)
	const eio = "sha256sum: '/tank/b: No such file or directory': Input/output error\n"
	sumOfNothing := "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  /tank/a\x00"
	findings, err := o.Compare([]byte(sumOfNothing), []byte(eio))
	want := Findings{{"/tank/a", Intact, ""}, {"/tank/b: No such file or directory", Unreadable, "Input/output error"}}
	if err != nil || !slices.Equal(findings, want) {
		t.Errorf("got %v %v", findings, err)
	}
	for name, output := range map[string]struct{ stdout, stderr string }{
		"nothing":          {},
		"one silent":       {stdout: sumOfNothing},
		"a warning beside": {stdout: sumOfNothing, stderr: "warning\n" + eio},
		"no digest":        {stdout: "xyz  /tank/a\x00", stderr: eio},
		"other files":      {stdout: strings.ReplaceAll(sumOfNothing, "/tank/a", "/tank/c"), stderr: eio},
	} {
		if findings, err := o.Compare([]byte(output.stdout), []byte(output.stderr)); err == nil {
			t.Errorf("%s gave %v", name, findings)
		}
	}
}
