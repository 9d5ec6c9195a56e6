package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/crash"
)

// crashFlags are those of crash.
type crashFlags struct {
	labFlags
	version  string
	seed     uint64
	images   uint
	flush    choice
	cache    uint
	promises time.Duration
	json     bool
}

func (a *app) crashCommand() *cobra.Command {
	f := crashFlags{flush: choice{value: "honest", words: []string{"honest", "lying"}}}
	cmd := &cobra.Command{
		Use:   "crash [SCENARIO]",
		Short: "Cut the power at every moment of a workload and see what is left",
		Long: `Crash runs the workload of a scenario once, on disks that write down everything they are asked to do, while files are
written with fsync beside it. From the record it builds the states in which a power cut could have left the disks: after
every flush, with some of what was not flushed, with the last write torn in the middle; all disks at the same instant.
Each image is audited, imported read-only and then read-write in a guest that never saw the workload, checked for every
file that fsync had promised before the cut, exported and audited again.

With --flush lying the disks answer a flush without doing anything, and lose what is in their caches.

The exit status is 0 when every image was consistent and no promise was broken, 1 otherwise; with lying disks it is 0, as
nothing is promised then. An image is not audited when its pool uses what the audit does not know: that counts for nothing,
and zdb's word is shown. A study that is interrupted reports the images that were judged, and exits with 3.`,
		Example: `  vdevil crash
  vdevil crash crash-storm --images 500 --json
  vdevil crash --flush lying --cache 8 --images 100
  vdevil crash ./my-workload.yaml --seed 7`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"crash-storm"}
			}
			return a.crash(cmd.Context(), f, args)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.UintVar(&f.images, "images", 500, "states to judge")
	flags.Var(&f.flush, "flush", "what a flush is worth")
	flags.UintVar(&f.cache, "cache", 32, "what the cache of each lying disk holds, in `MiB`")
	flags.DurationVar(&f.promises, "promises", 10*time.Second, "how long files are written with fsync, by the guest's clock")
	flags.StringVar(&f.version, "zfs", "", "OpenZFS `VERSION` (default: the one that image list marks)")
	flags.Uint64Var(&f.seed, "seed", 1, "what random choices come from; the workload's own timing does not")
	flags.UintVar(&f.jobs, "jobs", 0, "images at once (default: one for each CPU)")
	flags.BoolVar(&f.json, "json", false, "print one JSON document instead of tables")
	f.add(flags)
	return cmd
}

func (a *app) crash(ctx context.Context, f crashFlags, args []string) error {
	found, err := find(args)
	if err != nil {
		return err
	}
	if f.version != "" {
		if err := checkVersions([]string{f.version}); err != nil {
			return err
		}
	}
	if f.images == 0 {
		return usage(errors.New("--images: at least one"))
	}
	view := a.observer()
	stop := context.AfterFunc(ctx, func() { view.note("ending: once more to end at once") })
	l, err := a.open(ctx, f.labFlags, view)
	if err != nil {
		stop()
		view.close()
		return interrupted(ctx, err)
	}
	progress := &crashes{note: view.note, images: int(f.images), now: time.Now}
	request := lab.CrashRequest{
		Scenario: found[0], Version: f.version, Seed: f.seed, Images: int(f.images), Promises: f.promises, Observe: progress.news,
	}
	if f.flush.value == "lying" {
		request.Flush = crash.Flush{Lying: true, Cache: int64(f.cache) << 20}
	}
	report, err := l.Crash(ctx, request)
	stop()
	view.close()
	err = interrupted(ctx, errors.Join(err, l.Close()))
	if report == nil || len(report.Verdicts) == 0 {
		return err
	}
	var written error
	if f.json {
		written = writeJSON(a.out, report)
	} else {
		written = crashTable(a.out, report)
	}
	if err := errors.Join(err, written); err != nil {
		return err
	}
	return kept(report)
}

// kept is an error when something broke that should not have, or could not be judged.
func kept(r *crash.Report) error {
	broken := r.Count(func(v *crash.Verdict) bool { return !v.Consistent() || len(v.Broken) > 0 })
	invalid := len(r.Verdicts) - r.Count(func(*crash.Verdict) bool { return true })
	if invalid > 0 {
		return fmt.Errorf("%d of %d images could not be judged", invalid, len(r.Verdicts))
	}
	if broken > 0 && !r.Flush.Lying {
		return &notHeldError{fmt.Sprintf("%d of %d images are inconsistent or break a promise", broken, len(r.Verdicts))}
	}
	return nil
}

// crashes tells how a study goes on.
type crashes struct {
	note   func(string)
	images int
	now    func() time.Time

	mu         sync.Mutex
	start      time.Time
	done, bad  int
	lastNotice time.Time
}

// noticeEvery is how often the progress is told where nothing else happens.
const noticeEvery = 5 * time.Second

func (p *crashes) news(n crash.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := n.Recorded; r != nil {
		p.start, p.lastNotice = p.now(), p.now()
		p.note(fmt.Sprintf("recorded %d writes of %d MiB and %d flushes, %d files promised, in %s; now %d images",
			r.Writes, r.Bytes>>20, r.Flushes, r.Promised, clock(seconds(r.RecordSeconds)), p.images))
		return
	}
	p.done++
	v := n.Verdict
	switch {
	case v.Invalid != "":
		p.note(fmt.Sprintf("image %d: not judged: %s", v.Number, v.Invalid))
	case !v.Consistent() || len(v.Broken) > 0:
		p.bad++
		p.note(fmt.Sprintf("image %d (%s at %d): %s", v.Number, v.Kind, v.At, strings.Join(complaints(v), "; ")))
	}
	if now := p.now(); now.Sub(p.lastNotice) >= noticeEvery || p.done == p.images {
		p.lastNotice = now
		each := now.Sub(p.start) / time.Duration(p.done)
		p.note(fmt.Sprintf("%d of %d images, %d with complaints, %s left", p.done, p.images, p.bad, clock(each*time.Duration(p.images-p.done))))
	}
}

// complaints are what is wrong with an image, in a few words each.
func complaints(v *crash.Verdict) (all []string) {
	add := func(what, why string) {
		if why != "" {
			line, _, _ := strings.Cut(why, "\n")
			all = append(all, what+line)
		}
	}
	add("", v.Panic)
	add("cannot be audited: ", v.Unreadable)
	add("read-only import: ", v.ReadOnly)
	add("import: ", v.ReadWrite)
	for _, list := range []struct {
		what  string
		found []string
	}{{"audit: ", v.Audit}, {"audit after the import: ", v.After}, {"damaged: ", v.Damaged}} {
		if n := len(list.found); n > 0 {
			add(list.what, fmt.Sprintf("%d, first %s", n, list.found[0]))
		}
	}
	if n := len(v.Broken); n > 0 {
		all = append(all, fmt.Sprintf("%d of %d promises broken, first %s %s", n, v.Promises, v.Broken[0].Path, v.Broken[0].Result))
	}
	return all
}

// crashTable counts the images by kind.
func crashTable(w io.Writer, r *crash.Report) error {
	var s strings.Builder
	fmt.Fprintln(&s, "IMAGES\tNUMBER\tCONSISTENT\tAUDIT\tNOT AUDITED\tNO IMPORT\tPANIC\tDAMAGED\tPROMISES\tBROKEN IN\tINVALID")
	for _, kind := range []crash.Kind{crash.Boundary, crash.Subset, crash.Torn, ""} {
		of := func(want func(*crash.Verdict) bool) int {
			return r.Count(func(v *crash.Verdict) bool { return (kind == "" || v.Kind == kind) && want(v) })
		}
		number, promises := 0, 0
		for _, v := range r.Verdicts {
			if kind == "" || v.Kind == kind {
				number++
				promises += v.Promises
			}
		}
		name := string(kind)
		if kind == "" {
			name = "all"
		}
		fmt.Fprintf(&s, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", name, number,
			of((*crash.Verdict).Consistent),
			of(func(v *crash.Verdict) bool { return len(v.Audit)+len(v.After) > 0 || v.Unreadable != "" }),
			of(func(v *crash.Verdict) bool { return v.NotAudited != "" }),
			of(func(v *crash.Verdict) bool { return v.ReadWrite+v.ReadOnly != "" }),
			of(func(v *crash.Verdict) bool { return v.Panic != "" }),
			of(func(v *crash.Verdict) bool { return len(v.Damaged) > 0 }),
			promises,
			of(func(v *crash.Verdict) bool { return len(v.Broken) > 0 }),
			number-of(func(*crash.Verdict) bool { return true }))
	}
	if missing := r.Planned - len(r.Verdicts); missing > 0 {
		fmt.Fprintf(&s, "\nthe study ended early: %d of %d images were not judged\n", missing, r.Planned)
	}
	notAudited(&s, r)
	fmt.Fprintf(&s, "\n%s on OpenZFS %s, %s: %d writes of %d MiB, %d flushes, %d files promised; recorded in %s, judged in %s\n",
		r.Scenario, r.OpenZFS, r.Flush, r.Writes, r.Bytes>>20, r.Flushes, r.Promised, clock(seconds(r.RecordSeconds)), clock(seconds(r.JudgeSeconds)))
	return columns(w, s.String())
}

// notAudited says why images were not, and what zdb says of them, which is shown for the first of each kind.
func notAudited(w *strings.Builder, r *crash.Report) {
	var order []string
	number := map[string]int{}
	first := map[string]*crash.Verdict{}
	for _, v := range r.Verdicts {
		if v.NotAudited == "" {
			continue
		}
		if number[v.NotAudited]++; first[v.NotAudited] == nil {
			first[v.NotAudited], order = v, append(order, v.NotAudited)
		}
	}
	for _, why := range order {
		said := "zdb finds nothing"
		if zdb := first[why].ZDB; len(zdb) > 0 {
			said = fmt.Sprintf("zdb finds %d, first %s", len(zdb), zdb[0])
		}
		fmt.Fprintf(w, "\n%d not audited: %s; of image %d %s\n", number[why], why, first[why].Number, said)
	}
}
