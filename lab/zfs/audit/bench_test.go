package audit_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/labtest"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

// largePool has 4 GiB and more than half a million blocks, some of them small files, some shared with a snapshot.
const largePool = `set -e
zpool create -o ashift=12 -O compression=off -O recordsize=4k -O atime=off tank /dev/disk/by-id/virtio-v0
dd if=/dev/zero of=/tank/large bs=1M count=2000 status=none
mkdir /tank/small
python3 -c 'for i in range(20000): open("/tank/small/%d" % i, "w").write(str(i) * 500)'
zfs snapshot tank@a
dd if=/dev/zero of=/tank/large bs=1M count=40 seek=100 conv=notrunc status=none
zpool export tank`

// race runs both programs in turns, from cold caches, and prints what each took: seconds, and the peak of its memory in KiB.
const race = `import json, os, resource, subprocess, sys, time
def run(argv):
    open("/proc/sys/vm/drop_caches", "w").write("3")
    begun = time.time()
    pid = os.fork()
    if pid == 0:
        null = os.open("/dev/null", os.O_WRONLY)
        os.dup2(null, 1)
        os.execvp(argv[0], argv)
    _, status, usage = os.wait4(pid, 0)
    return {"seconds": time.time() - begun, "cpu": usage.ru_utime + usage.ru_stime, "kib": usage.ru_maxrss, "status": os.waitstatus_to_exitcode(status)}
disk = "/dev/disk/by-id/virtio-v0"
blocks = json.loads(subprocess.run(["/var/tmp/vdevil", "audit", "--json", disk], stdout=subprocess.PIPE, check=True).stdout)["totals"]["blocks"]
print(json.dumps({"blocks": blocks, "rounds": [{
    "zdb": run(["zdb", "-e", "-p", "/dev/disk/by-id", "-b", "tank"]), "audit": run(["/var/tmp/vdevil", "audit", disk])} for _ in range(int(sys.argv[1]))]}))
`

// cost is what one run took.
type cost struct {
	Seconds, CPU float64
	KiB          int64
	Status       int
}

// BenchmarkZDB compares an audit with zdb -b, in one guest, on one pool.
func BenchmarkZDB(b *testing.B) {
	const limit = 5 * time.Minute // on the reference host
	l := labtest.Open(b)
	img, err := l.Image(b.Context(), "")
	if err != nil {
		b.Fatal(err)
	}
	cp, err := l.Stable().Booted(b.Context(), img, scenarios.Machine{CPUs: 2, Memory: 2 << 30, Disks: []scenarios.DataDisk{{Name: "v0", Size: 4 << 30}}})
	if err != nil {
		b.Fatal(err)
	}
	m, g, err := trial.Enter(b.Context(), l.Driver(), img, cp)
	if err != nil {
		b.Fatal(err)
	}
	defer end(b, m, g)
	ctx, cancel := context.WithTimeout(b.Context(), cp.Scale.Limit(limit))
	defer cancel()
	if out, err := g.RunScript(ctx, largePool); err != nil {
		b.Fatalf("%v\n%s", err, out.Stderr)
	}
	program := filepath.Join(b.TempDir(), "vdevil")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/vdevil/vdevil/lab/cmd/vdevil")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	binary, err := os.ReadFile(program)
	if err != nil {
		b.Fatal(err)
	}
	for path, data := range map[string][]byte{"/var/tmp/vdevil": binary, "/var/tmp/race.py": []byte(race)} {
		if err := g.WriteFile(ctx, path, data); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		out, err := g.Run(ctx, "chmod +x /var/tmp/vdevil && python3 /var/tmp/race.py 3")
		if err != nil {
			b.Fatalf("%v\n%s", err, out.Stderr)
		}
		report(b, out.Stdout)
	}
}

func end(b testing.TB, m machine.Machine, g *guest.Guest) {
	b.Helper()
	if err := g.Close(); err != nil {
		b.Error(err)
	}
	if err := m.Close(); err != nil {
		b.Error(err)
	}
}

func report(b *testing.B, out []byte) {
	b.Helper()
	var r struct {
		Blocks uint64
		Rounds []struct{ ZDB, Audit cost }
	}
	if err := json.Unmarshal(out, &r); err != nil {
		b.Fatal(err)
	}
	var zdb, audit cost
	for _, x := range r.Rounds {
		b.Logf("%d blocks: %+v", r.Blocks, x)
		if x.ZDB.Status != 0 || x.Audit.Status != 0 {
			b.Errorf("zdb ended with %d, the audit with %d", x.ZDB.Status, x.Audit.Status)
		}
		zdb.Seconds, audit.Seconds = zdb.Seconds+x.ZDB.Seconds, audit.Seconds+x.Audit.Seconds
		zdb.KiB, audit.KiB = max(zdb.KiB, x.ZDB.KiB), max(audit.KiB, x.Audit.KiB)
	}
	b.ReportMetric(float64(r.Blocks), "blocks")
	b.ReportMetric(zdb.Seconds/audit.Seconds, "times-as-fast")
	b.ReportMetric(float64(audit.KiB)/1024, "MiB")
	b.ReportMetric(float64(zdb.KiB)/1024, "MiB-of-zdb")
}
