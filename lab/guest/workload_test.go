package guest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"al.essio.dev/pkg/shellescape"

	"github.com/vdevil/vdevil/lab/guest/churn"
)

// fakeZFS knows one dataset, mounted at folder, and logs what it is asked to do.
func fakeZFS(s *server, folder, log string) {
	s.Program("zfs", fmt.Sprintf(`echo "$*" >>%s; [ "$1 $2" != "list -H" ] || echo %s`, shellescape.Quote(log), shellescape.Quote(folder)))
}

func TestChurn(t *testing.T) {
	s := newServer(t)
	folder := filepath.Join(t.TempDir(), "mount point")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	fakeZFS(s, folder, filepath.Join(t.TempDir(), "log"))
	counts := Counts{}
	o := ChurnOptions{Dataset: "tank/c", Name: "f", Files: 3, Duration: time.Second, Seed: 5}
	began := ""
	g := connect(t, s, s.machine())
	err := g.Churn(t.Context(), o, func(f string) { began = f }, into(&counts))
	if err != nil || counts.Writes == 0 || counts.Snapshots != 0 || began != folder {
		t.Fatalf("%+v in %q, %v", counts, began, err)
	}
	expect := func(writes int) {
		t.Helper()
		want, got := map[string][]byte{}, map[string][]byte{}
		churn.New(o.Seed, o.Name, o.Files).Write(want, writes)
		files, err := os.ReadDir(folder)
		for _, f := range files {
			if err == nil {
				got[f.Name()], err = os.ReadFile(filepath.Join(folder, f.Name()))
			}
		}
		if err != nil || !maps.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("after %d writes there are %d files, not the %d that were to be: %v", writes, len(got), len(want), err)
		}
	}
	expect(counts.Writes)
	// So many, and then the same: what a run does follows from its seed.
	for range 2 {
		if err := errors.Join(os.RemoveAll(folder), os.Mkdir(folder, 0o755)); err != nil {
			t.Fatal(err)
		}
		o.Writes, o.Duration, counts = 123, 0, Counts{}
		if err := g.Churn(t.Context(), o, func(string) {}, into(&counts)); err != nil || counts.Writes != 123 {
			t.Fatalf("%+v %v", counts, err)
		}
		expect(123)
	}
}

func TestSnapshotStorm(t *testing.T) {
	s := newServer(t)
	log := filepath.Join(t.TempDir(), "log")
	fakeZFS(s, t.TempDir(), log)
	const keep = 3
	counts := Counts{}
	err := connect(t, s, s.machine()).SnapshotStorm(t.Context(),
		SnapshotStormOptions{Dataset: "tank/s", Name: "s", Snapshots: 20, Keep: keep, Seed: 5}, func(string) {}, into(&counts))
	if err != nil || counts.Snapshots != 20 || counts.Writes == 0 {
		t.Fatalf("%+v %v", counts, err)
	}
	if counts.Snapshots-counts.Destroyed != keep {
		t.Errorf("%+v leaves %d snapshots, not %d", counts, counts.Snapshots-counts.Destroyed, keep)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	made, destroyed := map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(string(text)) {
		verb, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case verb == "snapshot" && !made[name]:
			made[name] = true
		case verb == "destroy" && made[name] && !destroyed[name]:
			destroyed[name] = true
		case verb != "list":
			t.Errorf("unexpected zfs %s", line)
		}
	}
	if len(made) != counts.Snapshots || len(destroyed) != counts.Destroyed {
		t.Errorf("%+v, but %d made and %d destroyed", counts, len(made), len(destroyed))
	}
}

func TestSnapshotStormFails(t *testing.T) {
	s := newServer(t)
	folder := t.TempDir()
	s.Program("zfs", "case $1 in snapshot) echo no space >&2; exit 1;; list) echo "+folder+";; esac")
	// The churn beside it would go on for an hour.
	err := connect(t, s, s.machine()).SnapshotStorm(t.Context(),
		SnapshotStormOptions{Dataset: "tank/s", Duration: time.Hour, Keep: 3}, func(string) {}, unheard)
	if err == nil || !strings.Contains(err.Error(), "no space") {
		t.Errorf("got %v", err)
	}
}

func TestAutoSnapshot(t *testing.T) {
	s := newServer(t)
	log := filepath.Join(t.TempDir(), "log")
	s.Program("zfs-auto-snapshot", `echo "$@" >>`+shellescape.Quote(log)+`
logger -t zfs-auto-snap -p daemon.notice "@name," "2 created," "1 destroyed," "0 warnings."`)
	counts := Counts{}
	err := connect(t, s, s.machine()).AutoSnapshot(t.Context(), AutoSnapshotOptions{Label: "frequent", Keep: 31, Times: 3}, into(&counts))
	if want := (Counts{Snapshots: 6, Destroyed: 3, Runs: 3}); err != nil || counts != want {
		t.Errorf("%+v %v", counts, err)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Repeat("--quiet --syslog --label=frequent --keep=31 //\n", 3); string(text) != want {
		t.Errorf("called with %q", text)
	}
}

func TestAutoSnapshotNamesDiffer(t *testing.T) {
	s := newServer(t)
	log := filepath.Join(t.TempDir(), "log")
	s.Program("zfs-auto-snapshot", `date --utc +%F-%H%M >>`+shellescape.Quote(log)+`
logger "@name," "1 created," "0 destroyed," "0 warnings."`)
	if err := connect(t, s, s.machine()).AutoSnapshot(t.Context(), AutoSnapshotOptions{Label: "x", Keep: 2, Times: 4}, unheard); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var last time.Time
	if n := bytes.Count(text, []byte("\n")); n != 4 {
		t.Errorf("%d runs", n)
	}
	for line := range strings.Lines(string(text)) {
		at, err := time.Parse("2006-01-02-1504", strings.TrimSpace(line))
		if err != nil || !at.After(last) {
			t.Errorf("%q does not come after %s: %v", line, last, err)
		}
		last = at
	}
}

func TestAutoSnapshotWarns(t *testing.T) {
	s := newServer(t)
	s.Program("zfs-auto-snapshot", `logger "zfs snapshot returned 1"; logger "@name," "0 created," "0 destroyed," "1 warnings."`)
	err := connect(t, s, s.machine()).AutoSnapshot(t.Context(), AutoSnapshotOptions{Label: "x", Keep: 2, Times: 4}, unheard)
	if err == nil || !strings.Contains(err.Error(), "zfs snapshot returned 1") {
		t.Errorf("got %v", err)
	}
}

// TestCron expects the jobs of packages and of the caller in one table, the time that has passed, and what was begun.
func TestCron(t *testing.T) {
	s := newServer(t)
	dir := t.TempDir()
	s.Program("busybox", `while getopts fL:c: o "${@:2}"; do case $o in L) log=$OPTARG;; c) tables=$OPTARG;; esac; done
cp "$tables/root" `+shellescape.Quote(dir)+`
echo "crond: USER root pid 1 cmd zfs-auto-snapshot" >>"$log"
exec sleep 60`)
	s.Program("sysctl", "")
	counts := Counts{}
	err := connect(t, s, s.machine()).Cron(t.Context(),
		CronOptions{Duration: time.Second, Jobs: map[string]string{"*/5 * * * *": "sh /root/life 'a b'"}}, into(&counts))
	if want := (Counts{Seconds: 1, Runs: 1}); err != nil || counts != want {
		t.Errorf("%+v %v", counts, err)
	}
	table, err := os.ReadFile(filepath.Join(dir, "root"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"17 * * * * cd / && busybox run-parts /etc/cron.hourly\n", "*/5 * * * * sh /root/life 'a b'\n"} {
		if !strings.Contains(string(table), line) {
			t.Errorf("no %q in\n%s", line, table)
		}
	}
	s.Program("busybox", "echo no such table >&2; exit 1")
	if err := connect(t, s, s.machine()).Cron(t.Context(), CronOptions{Duration: time.Second}, unheard); err == nil || !strings.Contains(err.Error(), "cron has ended") {
		t.Errorf("a cron that ends: %v", err)
	}
}

func TestReadCounts(t *testing.T) {
	var got Counts
	news := 0
	for line := range strings.Lines("writes=10\nsnapshots=1\nnoise\nwrites=20\nother=7\nruns=x\n") {
		if got.read(strings.TrimSuffix(line, "\n")) {
			news++
		}
	}
	if want := (Counts{Writes: 20, Snapshots: 1}); got != want || news != 3 {
		t.Errorf("got %+v of %d lines", got, news)
	}
}

// into keeps the last counts that a workload told.
func into(c *Counts) func(Counts) { return func(now Counts) { *c = now } }

func unheard(Counts) {}
