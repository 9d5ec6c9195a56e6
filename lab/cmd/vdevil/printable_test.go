package main

import (
	"bytes"
	"encoding/json"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/printable"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/labeltest"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/nvlist"
)

// evil is a name that clears the screen, sets the title of the window and begins a line of its own.
const evil = "evil\x1b[2J\u009b1m\x1b]0;title\x07\nvdevil: all is well\u202e"

// evilPool is the path of a member of a pool with such names.
func evilPool(t *testing.T) string {
	t.Helper()
	leaf := labeltest.List(labeltest.Pair("type", "file"), labeltest.Pair("id", uint64(0)), labeltest.Pair("guid", uint64(7)),
		labeltest.Pair("path", evil), labeltest.Pair("ashift", uint64(9)))
	return labeltest.Write(t, labeltest.Member(t, labeltest.List(
		labeltest.Pair("name", evil), labeltest.Pair("hostname", evil), labeltest.Pair("pool_guid", uint64(5)), labeltest.Pair("guid", uint64(7)),
		labeltest.Pair("txg", uint64(4)), labeltest.Pair("vdev_children", uint64(1)), labeltest.Pair("vdev_tree", leaf),
	), 4))
}

// obeyed is what of a text a terminal would obey, or show elsewhere than where it stands.
func obeyed(text string) bool {
	return strings.ContainsAny(text, "\x1b\x07\u009b\u202e\r")
}

// What a pool, or a feature that it needs, is called reaches neither a terminal nor a line of its own.
func TestNamesOfStrangers(t *testing.T) {
	path := evilPool(t)
	feature := labeltest.Write(t, labeltest.Member(t, labeltest.List(
		labeltest.Pair("name", evil), labeltest.Pair("pool_guid", uint64(5)), labeltest.Pair("guid", uint64(7)), labeltest.Pair("txg", uint64(4)),
		labeltest.Pair("features_for_read", labeltest.List(nvlist.Pair{Name: evil, Type: nvlist.Uint64, Value: uint64(1)})),
	), 4))
	for _, args := range [][]string{
		{"audit", path}, {"audit", "--json", path}, {"audit", feature},
		{"audit", "--txg", "1", path}, {"audit", "--pool", evil, path}, {"forge", "birth", path}, {"forge", "birth", feature},
	} {
		code, out, err := command(t, args...)
		if code == held || !strings.Contains(out+err, `evil\u001b[2J\u009b1m`) || strings.Contains(out+err, `\\u001b[2J`) && args[1] != "--json" {
			t.Errorf("%q: status %d, %q, %q", args, code, out, err)
		}
		if obeyed(out+err) || strings.Contains("\n"+out+err, "\nvdevil: all") {
			t.Errorf("%q: %q, %q", args, out, err)
		}
	}
}

// Whatever a command writes is printable, whoever forgot to make it so, and JSON stays what it is.
func TestStreams(t *testing.T) {
	var out, err bytes.Buffer
	a := &app{in: strings.NewReader(""), out: &out, err: &err}
	a.out, a.err = printable.NewWriter(a.out), printable.NewWriter(a.err)
	a.say("console: %s\n", "a\x1b[31mb\r\nc")
	if err.String() != "console: a\\u001b[31mb\nc\n" {
		t.Errorf("%q", err.String())
	}
	if e := writeJSON(a.out, evil); e != nil {
		t.Fatal(e)
	}
	var back string
	if e := json.Unmarshal(out.Bytes(), &back); e != nil || back != evil || obeyed(out.String()) {
		t.Errorf("%q is %q, %v", out.String(), back, e)
	}
	if unguarded(a.out) != io.Writer(&out) {
		t.Error("the stream itself is not found")
	}
}

// The views that steer a terminal pass on no other control characters than their own.
func TestLiveView(t *testing.T) {
	var out bytes.Buffer
	b := board{colour: true, keys: true}
	for _, e := range []campaign.Event{
		lab.Opened{Name: evil}, planned(evil, evil), campaign.Started{Spec: trial.Spec{Name: evil, OpenZFS: "2.3.2", Arm: evil, Number: 1}},
		campaign.Started{Spec: trial.Spec{Name: evil, OpenZFS: "2.3.2", Arm: evil, Number: 2}},
		campaign.Ended{Spec: trial.Spec{Name: evil, OpenZFS: "2.3.2", Arm: evil, Number: 1}, Result: trial.Result{Arm: evil, Number: 1, Outcome: trial.Panic, Signature: evil}},
	} {
		b.event(e, time.Unix(0, 0))
	}
	b.progress(lab.Progress{What: evil}, time.Unix(0, 0))
	b.running[0].said = evil
	b.press("j")
	b.press("d")
	view := b.view(200, 50, time.Unix(9, 0))
	if n := strings.Count(view, `evil\u001b[2J`); n != 11 || obeyed(regexp.MustCompile(`\x1b\[[0-9]*m`).ReplaceAllString(view, "")) {
		t.Errorf("%d of 11 texts of others in\n%q", n, view)
	}
	v := &auditView{w: &out, width: func() int { return 200 }, now: time.Now}
	v.line(evil)
	if rest := strings.TrimPrefix(out.String(), "\r\x1b[K"); obeyed(rest) || strings.Contains(rest, "\n") {
		t.Errorf("%q", out.String())
	}
}
