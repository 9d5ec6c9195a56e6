package crash

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Report is what a study has found.
type Report struct {
	Scenario string `json:"scenario"`
	Arm      string `json:"arm"`
	OpenZFS  string `json:"openzfs"`
	Seed     uint64 `json:"seed"`
	Flush    Flush  `json:"flush"`
	// Writes, Flushes and Bytes are what the workload did to the disks, Promised how many files it wrote with fsync.
	Writes   int   `json:"writes"`
	Flushes  int   `json:"flushes"`
	Bytes    int64 `json:"bytes"`
	Promised int   `json:"promised"`
	// Planned is how many images were to be judged. There are fewer verdicts when the study ended early.
	Planned int `json:"planned"`
	// Verdicts are in the order of the images.
	Verdicts []*Verdict `json:"images"`
	// RecordSeconds and JudgeSeconds are what it took.
	RecordSeconds float64 `json:"record_seconds"`
	JudgeSeconds  float64 `json:"judge_seconds"`
}

// Count counts the images for which want holds, of those that are valid.
func (r *Report) Count(want func(*Verdict) bool) (n int) {
	for _, v := range r.Verdicts {
		if v.Invalid == "" && want(v) {
			n++
		}
	}
	return n
}

// Progress is news of a study. Report has no verdicts when the workload has come to its end; Verdict is that of an image.
type Progress struct {
	Recorded *Report
	Verdict  *Verdict
}

// Run does the study. What was judged before an error is returned with it.
func (s *Study) Run(ctx context.Context) (report *Report, err error) {
	report = &Report{
		Scenario: s.Resolved.Scenario, Arm: s.Resolved.Arm.Name, OpenZFS: s.Image.OpenZFS, Seed: s.Seed, Flush: s.Flush,
	}
	// Images are judged one by one, each by commands that wait for one another: more CPUs would wait too.
	judges := s.Resolved.Machine
	judges.CPUs = 1
	booted, err := s.Checkpoints.Booted(ctx, s.Image, judges)
	if err != nil {
		return report, err
	}
	start := time.Now()
	r, err := s.record(ctx)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	report.RecordSeconds = time.Since(start).Seconds()
	images, flushes := r.log.Plan(s.Images, s.Flush, rand.New(rand.NewPCG(s.Seed, 2)))
	report.Planned = len(images)
	report.Flushes, report.Writes, report.Bytes, report.Promised = flushes, r.log.Len()-flushes, r.log.size, len(r.promises)
	s.Observe(Progress{Recorded: report})
	start = time.Now()
	report.Verdicts, err = s.judgeAll(ctx, images, func(n int) (*importer, error) { return s.newImporter(ctx, r, booted, n) })
	report.JudgeSeconds = time.Since(start).Seconds()
	return report, err
}

// judgeAll judges the images, as many at once as there are jobs.
func (s *Study) judgeAll(ctx context.Context, images []*Image, open func(int) (*importer, error)) ([]*Verdict, error) {
	todo := make(chan *Image)
	group, limited := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(todo)
		for _, m := range images {
			select {
			case todo <- m:
			case <-limited.Done():
				return limited.Err()
			}
		}
		return nil
	})
	var mu sync.Mutex
	verdicts := make([]*Verdict, len(images))
	for n := range max(s.Jobs, 1) {
		group.Go(func() (err error) {
			im, err := open(n)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, im.close()) }()
			for m := range todo {
				v, err := im.judge(limited, m)
				if err != nil {
					return err
				}
				mu.Lock()
				verdicts[m.Number-1] = v
				mu.Unlock()
				s.Observe(Progress{Verdict: v})
			}
			return nil
		})
	}
	err := group.Wait()
	done := verdicts[:0]
	for _, v := range verdicts {
		if v != nil {
			done = append(done, v)
		}
	}
	return done, err
}
