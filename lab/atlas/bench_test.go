package atlas_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/atlas"
	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/labtest"
	"github.com/vdevil/vdevil/scenarios"
)

// BenchmarkThroughput compares the trials a minute of an atlas, all its forks from one instant, with those of a guest at
// a time that is booted, given a pool and brought to the instant for each bit. Both count from nothing to a judged
// outcome; the judge's guest is a fork in both.
//
//	go test ./lab/atlas -run '^$' -bench Throughput -benchtime 1x
func BenchmarkThroughput(b *testing.B) {
	l := labtest.Open(b)
	img, cp := labtest.Booted(b, l)
	found, err := scenarios.Find([]string{"blkptr-dva-flip"})
	if err != nil {
		b.Fatal(err)
	}
	cold := *l.Stable()
	one := atlas.Atlas{
		Target: "bp.blk_dva[0].dva_word[1]", Trigger: fault.Trigger{At: "zio_free_sync"}, Scenario: found[0], Image: img, Seed: 1,
		Bits: &atlas.Range{First: 5, Last: 5}, Window: 4 * time.Second, Jobs: 1, Driver: l.Driver(), Stable: &cold,
		Observe: func(atlas.Event) {},
	}
	all := one
	all.Bits, all.Jobs, all.Controls, all.Stable = &atlas.Range{First: 0, Last: 63}, runtime.NumCPU()+2, 2, l.Stable()
	for b.Loop() {
		if cold.Dir, err = os.MkdirTemp(filepath.Dir(cp.Dir), "bench-"); err != nil {
			b.Fatal(err)
		}
		// The instant of the second is there before it is measured, as it is for all but the first trial of an atlas.
		warm := all
		warm.Bits, warm.Controls = &atlas.Range{First: 5, Last: 5}, 0
		run(b, warm)
		forked := run(b, all).Seconds() / 66
		booted := run(b, one).Seconds()
		if err := os.RemoveAll(cold.Dir); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(60/forked, "forked/min")
		b.ReportMetric(60/booted, "booted/min")
		b.ReportMetric(booted/forked, "times")
	}
}

func run(b *testing.B, a atlas.Atlas) time.Duration {
	b.Helper()
	a.Dir = b.TempDir()
	start := time.Now()
	if _, err := a.Run(b.Context()); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}
