package main

import (
	"bytes"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/report"
	"gotest.tools/v3/golden"
)

func TestPlain(t *testing.T) {
	var b bytes.Buffer
	for _, kind := range slices.Sorted(maps.Keys(stories())) {
		b.WriteString("--- " + kind + "\n")
		c := &clocked{time.Unix(0, 0)}
		o := newPlain(&b, c.now)
		for _, e := range stories()[kind] {
			tell(o, e)
			c.tick()
		}
		o.note("ending: once more to end at once")
		o.close()
	}
	golden.Assert(t, b.String(), "plain.txt")
}

func TestClock(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                        "0.0s",
		350 * time.Millisecond:   "0.3s",
		59990 * time.Millisecond: "59.9s",
		61 * time.Second:         "1m01s",
		3600 * time.Second:       "1h00m",
		90 * time.Hour:           "90h00m",
	} {
		if got := report.Clock(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}
