package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/crash"
	"github.com/vdevil/vdevil/lab/oracle"
)

// studied is a report with an image of every sort.
func studied(lying bool) *crash.Report {
	image := func(n int, k crash.Kind) crash.Image { return crash.Image{Number: n, Kind: k, At: 10 * n} }
	return &crash.Report{
		Scenario: "crash-storm", OpenZFS: "2.3.2", Flush: crash.Flush{Lying: lying, Cache: 8 << 20}, Writes: 900, Flushes: 60, Bytes: 20 << 20, Promised: 5,
		Verdicts: []*crash.Verdict{
			{Image: image(1, crash.Boundary), Promises: 3},
			{Image: image(2, crash.Subset), Promises: 4, Broken: oracle.Findings{{Path: "/tank/promises/promise-1", Result: oracle.Missing}}},
			{Image: image(3, crash.Torn), ReadOnly: "cannot import 'tank': I/O error\n\tmore", ReadWrite: "cannot import 'tank': I/O error"},
			{Image: image(4, crash.Torn), Panic: "oops:f", Audit: []string{"leaked", "twice"}},
		},
	}
}

func TestCrashTable(t *testing.T) {
	var out strings.Builder
	if err := crashTable(&out, studied(false)); err != nil {
		t.Fatal(err)
	}
	want := `IMAGES    NUMBER  CONSISTENT  AUDIT  NOT AUDITED  NO IMPORT  PANIC  DAMAGED  PROMISES  BROKEN IN  INVALID
boundary  1       1           0      0            0          0      0        3         0          0
subset    1       1           0      0            0          0      0        4         1          0
torn      2       0           1      0            1          1      0        0         0          0
all       4       2           1      0            1          1      0        7         1          0

crash-storm on OpenZFS 2.3.2, honest flush: 900 writes of 20 MiB, 60 flushes, 5 files promised; recorded in 0.0s, judged in 0.0s
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
}

// TestCrashTableOfFew has images that were not audited, one that could not be, and some that were not judged.
func TestCrashTableOfFew(t *testing.T) {
	r := studied(false)
	r.Planned, r.Verdicts = 50, []*crash.Verdict{
		{Image: crash.Image{Number: 1, Kind: crash.Boundary}, NotAudited: "not supported: x"},
		{Image: crash.Image{Number: 2, Kind: crash.Boundary}, NotAudited: "not supported: x", ZDB: []string{"leaked"}},
		{Image: crash.Image{Number: 3, Kind: crash.Boundary}, Unreadable: "checksum mismatch"},
	}
	var out strings.Builder
	if err := crashTable(&out, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"boundary  3       2           1      2            0 ", "the study ended early: 47 of 50 images were not judged",
		"2 not audited: not supported: x; of image 1 zdb finds nothing",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &out)
		}
	}
}

func TestCrashIsHeldToItsPromises(t *testing.T) {
	var broken *notHeldError
	if err := kept(studied(false)); !errors.As(err, &broken) || err.Error() != "3 of 4 images are inconsistent or break a promise" {
		t.Errorf("%v", err)
	}
	if err := kept(studied(true)); err != nil {
		t.Errorf("a disk that lies has promised nothing: %v", err)
	}
	r := studied(true)
	r.Verdicts[0].Invalid = "no guest"
	if err := kept(r); err == nil || errors.As(err, &broken) {
		t.Errorf("an image that was not judged: %v", err)
	}
}

func TestCrashProgress(t *testing.T) {
	var notes []string
	p := &crashes{note: func(s string) { notes = append(notes, s) }, images: 4, now: func() time.Time { return time.Unix(0, 0) }}
	r := studied(false)
	p.news(crash.Progress{Recorded: r})
	for _, v := range r.Verdicts {
		p.news(crash.Progress{Verdict: v})
	}
	want := []string{
		"recorded 900 writes of 20 MiB and 60 flushes, 5 files promised, in 0.0s; now 4 images",
		"image 2 (subset at 20): 1 of 4 promises broken, first /tank/promises/promise-1 missing",
		"image 3 (torn at 30): read-only import: cannot import 'tank': I/O error; import: cannot import 'tank': I/O error",
		"image 4 (torn at 40): oops:f; audit: 2, first leaked",
		"4 of 4 images, 3 with complaints, 0.0s left",
	}
	if strings.Join(notes, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(notes, "\n"), strings.Join(want, "\n"))
	}
}
