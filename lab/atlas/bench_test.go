package atlas_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/atlas"
	"github.com/vdevil/vdevil/lab/bench"
	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/checkpoint"
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
	kept := l.Checkpoints()
	fresh := &checkpoint.Cache{Driver: kept.Driver, Kernels: kept.Kernels, Open: kept.Open, Progress: kept.Progress}
	cold := &bench.Bench{Driver: l.Driver(), Checkpoints: fresh, Image: l.Bench().Image, Judge: l.Bench().Judge, Second: l.Bench().Second}
	one := atlas.Atlas{
		Target: "bp.blk_dva[0].dva_word[1]", Trigger: scenarios.Trigger{At: "zio_free_sync"}, Asked: campaign.Ask(found)[0], Image: img.ID, OpenZFS: img.OpenZFS,
		Driver: l.Driver().Name(), Accel: string(l.Driver().Accel()), Seed: 1, Bits: &atlas.Range{First: 5, Last: 5}, Window: 4 * time.Second,
	}
	all := one
	all.Bits, all.Controls = &atlas.Range{First: 0, Last: 63}, 2
	for b.Loop() {
		if fresh.Dir, err = os.MkdirTemp(filepath.Dir(cp.Dir), "bench-"); err != nil {
			b.Fatal(err)
		}
		// The instant of the second is there before it is measured, as it is for all but the first trial of an atlas.
		warm := all
		warm.Bits, warm.Controls = &atlas.Range{First: 5, Last: 5}, 0
		run(b, warm, l.Bench(), 1)
		forked := run(b, all, l.Bench(), runtime.NumCPU()+2).Seconds() / 66
		booted := run(b, one, cold, 1).Seconds()
		if err := os.RemoveAll(fresh.Dir); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(60/forked, "forked/min")
		b.ReportMetric(60/booted, "booted/min")
		b.ReportMetric(booted/forked, "times")
	}
}

func run(b *testing.B, a atlas.Atlas, on *bench.Bench, jobs int) time.Duration {
	b.Helper()
	dir := b.TempDir()
	start := time.Now()
	if err := a.Read(); err != nil {
		b.Fatal(err)
	}
	structure, _, err := on.Instant(b.Context(), a.Spec(0, true, 1))
	if err == nil {
		_, err = a.Plan(structure, nil, false)
	}
	if err != nil {
		b.Fatal(err)
	}
	r := campaign.Runner{Search: &a, Bench: campaign.On{Bench: on}, Jobs: jobs, Stream: &campaign.Stream{}, Options: func(w campaign.Want) bench.Options {
		return bench.Options{Bundle: filepath.Join(dir, w.Bundle)}
	}}
	if _, err := r.Run(b.Context(), campaign.Results{}); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}
