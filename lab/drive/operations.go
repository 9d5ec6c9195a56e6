package drive

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"

	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/ops"
	"github.com/vdevil/vdevil/lab/oracle"
	"github.com/vdevil/vdevil/scenarios"
)

// Program is what a step of operations does in a trial of that seed. Disks are those of the machine, layout the words of the pool.
func Program(s scenarios.Step, pool string, disks, layout []string, seed uint64) (ops.Program, error) {
	if s.Operations != "" {
		return ops.Parse(s.Operations)
	}
	place := ops.Place{Pool: pool, Seed: seed, Disk: guest.DiskPath}
	features := s.Generate.Features
	if s.Generate.Draw > 0 {
		features = slices.Clone(features)
		rand.New(rand.NewPCG(seed, 1)).Shuffle(len(features), func(i, j int) { features[i], features[j] = features[j], features[i] })
		features = features[:s.Generate.Draw]
	}
	return ops.Generate(seed, features, s.Generate.Count, place, layout, disks), nil
}

// operations does a program and compares what becomes of each operation with what the model foretells. One that goes otherwise does not
// end it: a panic that follows says more.
func (w *Worker) operations(ctx context.Context, s scenarios.Step) error {
	program, err := Program(s, w.Pool, w.Disks, w.Layout, w.Seed)
	if err != nil {
		return err
	}
	place := ops.Place{Pool: w.Pool, Seed: w.Seed, Disk: guest.DiskPath}
	if w.model == nil {
		inUse, _ := ops.Split(w.Disks, w.Layout)
		w.model = ops.NewModel(place, inUse...)
	}
	requests := make([]ops.Request, len(program))
	for i, o := range program {
		requests[i] = o.Request(place)
	}
	w.output.note("step " + s.String())
	step := func(i int) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.done.Step = fmt.Sprintf("%s, %d of %d: %s", s.Kind(), i+1, len(program), program[i])
	}
	var otherwise *BrokenError
	step(0)
	err = w.Guest.Do(ctx, requests, func(i int, a ops.Answer) {
		o := program[i]
		w.output.note(o.String() + said(a))
		if otherwise == nil { // from there on the model is another pool's
			fate, why := w.model.Foretell(o)
			if reason := judged(o, fate, why, a); reason != "" {
				otherwise = &BrokenError{reason}
			} else {
				w.misread(o, a)
				w.model.Note(o, a.Error == "")
			}
		}
		if i+1 < len(program) {
			step(i + 1)
		}
	})
	switch {
	case err != nil:
		return err
	case otherwise != nil:
		return otherwise
	}
	w.model.Expect(&w.oracle)
	return nil
}

// reboot goes on in a fresh machine: what the power cut may take is forgotten, and the key is brought that operations have left on the
// machine's own disk, which is as it was before them.
func (w *Worker) reboot(ctx context.Context) error {
	w.forgetUnsynced()
	if err := w.Reboot(ctx); err != nil || w.model == nil {
		return err
	}
	w.model.Cut()
	w.model.Expect(&w.oracle)
	if file, key, needed := w.model.Key(); needed {
		return w.Guest.WriteFile(ctx, file, key)
	}
	return nil
}

// misread notes what an operation read if that is not what the file has, as the oracle would.
func (w *Worker) misread(o ops.Op, a ops.Answer) {
	path, data, reads := w.model.Reads(o)
	if !reads || a.Error != "" || a.Sum == fmt.Sprintf("%x", sha256.Sum256(data)) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	f := oracle.Finding{Path: path, Result: oracle.Wrong}
	w.misreads, w.done.Findings = append(w.misreads, f), append(w.done.Findings, f)
}

func said(a ops.Answer) string {
	if a.Error == "" {
		return ""
	}
	return ": " + a.Error
}

// judged says what is wrong with what became of an operation, if anything is. A pool that is full may refuse anything.
func judged(o ops.Op, fate ops.Fate, why string, a ops.Answer) string {
	switch {
	case a.Error == "" && fate == ops.Refused:
		return fmt.Sprintf("%q was done and must be refused: %s", o, why)
	case a.Error != "" && fate == ops.Succeeds && !full(a):
		return fmt.Sprintf("%q must succeed: %s", o, a.Error)
	}
	return ""
}

func full(a ops.Answer) bool {
	errno := syscall.Errno(a.Errno)
	return errno == syscall.ENOSPC || errno == syscall.EDQUOT || strings.Contains(a.Error, "out of space") || strings.Contains(a.Error, "No space left")
}
