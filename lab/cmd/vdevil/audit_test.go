package main

import (
	"github.com/vdevil/vdevil/lab/zfs/audit/offline"

	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/zfs/audit"
	"github.com/vdevil/vdevil/lab/zfs/forge"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/ondisktest"
)

// members are the paths of the images that a script made.
func members(t *testing.T, script string) []string {
	t.Helper()
	devices := ondisktest.Images(t, ondisktest.Dir(t, "", script))
	paths := make([]string, len(devices))
	for i, d := range devices {
		paths[i] = d.Name
	}
	return paths
}

// raw is the image of a pool with one device.
func raw(t *testing.T, script string) string {
	t.Helper()
	return members(t, script)[0]
}

// forgedImage is a copy of that image with a forgery.
func forgedImage(t *testing.T, script, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "forged.img")
	if out, err := exec.Command("cp", "--sparse=always", raw(t, script), path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	d, closer, err := ondisk.OpenDevice(path)
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	w, err := ondisk.NewWriter(t.Context(), []ondisk.Device{d}, ondisk.InPlace, ondisk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := forge.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Make(t.Context(), w, forge.Options{Seed: 1}); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := w.Commit(t.Context(), []ondisk.Target{file}); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAuditClean(t *testing.T) {
	dir := t.TempDir()
	qcow2 := filepath.Join(dir, "pool.qcow2")
	if out, err := exec.Command("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw(t, "single"), qcow2).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, path := range []string{raw(t, "single"), qcow2} {
		code, out, err := command(t, "audit", path)
		if code != held || !strings.HasPrefix(out, "pool single (GUID ") || !strings.HasSuffix(out, "no inconsistency found\n") || err != "" {
			t.Errorf("%s: status %d, %q, %q", path, code, out, err)
		}
	}
	// Members in any order, and what is none of them.
	paths := members(t, "raidz1")
	slices.Reverse(paths)
	stranger := filepath.Join(dir, "stranger")
	if err := os.WriteFile(stranger, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, err := command(t, append([]string{"audit", "--json", stranger}, paths...)...)
	var r offline.Document
	if e := json.Unmarshal([]byte(out), &r); code != held || e != nil || r.Pool.Name != "zr" || r.Verdict != offline.Consistent || r.Pool.Blocks.Blocks == 0 ||
		len(r.Strangers) != 1 || r.Strangers[0].Device != stranger || len(r.Missing) != 0 {
		t.Errorf("status %d, %v, %+v, %q", code, e, r, err)
	}
	code, out, _ = command(t, append([]string{"audit"}, paths[1:]...)...)
	if code != held || !strings.Contains(out, "note: no device was given for ") {
		t.Errorf("without a member: status %d, %q", code, out)
	}
}

// An image that stands on another one is refused, unless that is asked for; then the report names the other one.
func TestAuditBacking(t *testing.T) {
	pool := raw(t, "single")
	top := filepath.Join(t.TempDir(), "top.qcow2")
	if out, err := exec.Command("qemu-img", "create", "-f", "qcow2", "-F", "raw", "-b", pool, top).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	code, out, err := command(t, "audit", top)
	if code != misused || out != "" || !strings.Contains(err, top+" names the backing file") || !strings.Contains(err, pool) || !strings.Contains(err, "write --backing") {
		t.Errorf("status %d, %q, %q", code, out, err)
	}
	code, out, err = command(t, "audit", "--backing", top)
	if code != held || !strings.Contains(out, "note: "+pool+" was read, too, since "+top+" names it\n") {
		t.Errorf("status %d, %q, %q", code, out, err)
	}
}

func TestAuditForged(t *testing.T) {
	path := forgedImage(t, "single", "spacemap-duplicate-free")
	code, out, err := command(t, "audit", path)
	for _, want := range []string{
		"freed-twice-in-space-map: 1 finding\n", "vdev 0, metaslab ", "What it does: Loading the metaslab panics", "zfs_recover=1",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in %s", want, out)
		}
	}
	if code != notHeld || !strings.HasPrefix(err, "found freed-twice-in-space-map: vdev 0, metaslab ") ||
		!strings.HasSuffix(err, "\nvdevil: pool single is inconsistent\n") || strings.Count(err, "\n") != 2 {
		t.Errorf("status %d, %q", code, err)
	}
	code, out, _ = command(t, "audit", "--json", path)
	var r offline.Document
	if e := json.Unmarshal([]byte(out), &r); code != notHeld || e != nil || len(r.Findings) != 1 || r.Findings[0].Kind != audit.FreedTwice {
		t.Errorf("status %d, %v, %+v", code, e, r)
	}
	code, out, _ = command(t, "audit", forgedImage(t, "single", "shared-block"))
	if code != notHeld || !strings.Contains(out, "\nThese 2 files share blocks and must not:\n  single/") {
		t.Errorf("status %d, %q", code, out)
	}
}

func TestAuditRefused(t *testing.T) {
	nothing := filepath.Join(t.TempDir(), "nothing")
	if err := os.WriteFile(nothing, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	two := members(t, "gang")
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{}, "requires at least 1 arg"},
		{[]string{nothing}, "no pool on these devices"},
		{[]string{nothing + "s"}, "no such file"},
		{two, "choose one: [gang ("},
		{[]string{raw(t, "single"), "--txg", "1"}, "no uberblock of txg 1 or before is left; there are those of txg "},
		{[]string{raw(t, "single"), "--pool", "tank"}, "no pool tank on these devices, which have [single ("},
	} {
		code, out, err := command(t, append([]string{"audit"}, c.args...)...)
		if code != misused || !strings.Contains(err, c.says) || out != "" {
			t.Errorf("%q: status %d, %q, %q; want %q", c.args, code, out, err, c.says)
		}
	}
	if code, _, err := command(t, append([]string{"audit", "--pool", "hang"}, two...)...); code != held {
		t.Errorf("status %d, %q", code, err)
	}
	if code := status(&unreadableError{errors.New("x")}); code != misused {
		t.Errorf("status %d", code)
	}
}

// Progress is a line over and over on a terminal, and a line now and then elsewhere.
func TestAuditView(t *testing.T) {
	now := time.Unix(0, 0)
	steps := func(v *auditView) {
		for i := range uint64(40) {
			v.progress(audit.Progress{Stage: audit.Walking, Blocks: 1000 * i, Done: i << 20, Total: 80 << 20})
			now = now.Add(time.Second)
		}
		v.close()
	}
	var out bytes.Buffer
	clock := func() time.Time { return now }
	steps(&auditView{w: &out, now: clock})
	want := "walking: 10,000 block pointers, 12% of 80 MiB, 1.0 MiB/s, 1m10s left\n"
	if !strings.HasPrefix(out.String(), want) || strings.Count(out.String(), "\n") != 3 {
		t.Errorf("%q, which should begin with %q", out.String(), want)
	}
	out.Reset()
	steps(&auditView{w: &out, now: clock, width: func() int { return 30 }})
	lines := strings.Split(out.String(), "\r\x1b[K")
	if len(lines) < 40 || lines[2] != "walking: 2,000 block pointers" || lines[len(lines)-1] != "" {
		t.Errorf("%q", lines)
	}
	out.Reset()
	steps(&auditView{w: &out, now: clock})
	if out.Len() == 0 {
		t.Error("nothing is said in 40 seconds")
	}
}
