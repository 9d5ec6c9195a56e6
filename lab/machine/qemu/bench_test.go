package qemu_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/labtest"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/qmp"
	"github.com/vdevil/vdevil/lab/machine/vm"
	"github.com/vdevil/vdevil/scenarios"
)

// rounds is how often each way of starting is measured; the cold one takes a minute and is measured once.
const rounds = 15

// BenchmarkStart compares, in one run and with the same pool, the ways to a running guest: cold (boot and prepare),
// QEMU's own loadvm, a fork from nothing, and a fork that was restored ahead. Times are medians.
//
//	go test -run '^$' -bench Start ./lab/machine/qemu
func BenchmarkStart(b *testing.B) {
	l := labtest.Open(b)
	img, err := l.Image(b.Context(), "")
	if err != nil {
		b.Fatal(err)
	}
	driver := l.Driver().(*vm.Driver)
	for b.Loop() {
		cold := measureCold(b, driver, img)
		cp := prepared(b, l.Checkpoints().Prepared, img, 1<<30)
		load, state := measureLoadvm(b, driver, cp)
		fork, _ := measureFork(b, driver, cp, 0)
		ahead, private := measureFork(b, driver, cp, 1)
		big, _ := measureFork(b, driver, prepared(b, l.Checkpoints().Prepared, img, 4<<30), 1)

		b.ReportMetric(cold.Seconds(), "cold-s")
		b.ReportMetric(float64(state)/(1<<20), "loadvm-state-MiB")
		for name, d := range map[string]time.Duration{"loadvm": load, "fork": fork, "ahead": ahead, "ahead-4GiB": big} {
			b.ReportMetric(float64(d.Microseconds())/1000, name+"-ms")
		}
		b.ReportMetric(float64(private)/(1<<20), "private-MiB")
		b.ReportMetric(ahead.Seconds()/load.Seconds(), "ahead/loadvm")
		b.ReportMetric(cold.Seconds()/ahead.Seconds(), "cold/ahead")
		b.ReportMetric(big.Seconds()/ahead.Seconds(), "4GiB/1GiB")
	}
	b.ReportMetric(0, "ns/op") // of all together, it says nothing
}

var pool = guest.PoolSpec{Name: "tank", Layout: []string{"mirror", "v0", "v1"}}

func measureCold(b *testing.B, d machine.Driver, img *images.Image) time.Duration {
	m := labtest.Machine()
	c := machine.Config{
		Kernel: img.Kernel, Initrd: img.Initrd, Root: img.Root, Cmdline: img.Cmdline("/dev/vda"), CPUs: m.CPUs, Memory: m.Memory, Ports: []int{22},
	}
	for _, disk := range m.Disks {
		c.Disks = append(c.Disks, machine.DiskConfig{Name: disk.Name, Size: disk.Size})
	}
	start := time.Now()
	vm, err := d.Boot(b.Context(), c)
	if err != nil {
		b.Fatal(err)
	}
	defer vm.Close()
	g, err := guest.Connect(b.Context(), vm, guest.Keys{Login: img.LoginKey, Host: img.HostKey})
	if err != nil {
		b.Fatal(err)
	}
	defer g.Close()
	if err := g.CreatePool(b.Context(), pool); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

// prepared is a checkpoint with the same pool.
func prepared(b *testing.B, prepare func(context.Context, *images.Image, scenarios.Resolved) (*machine.Checkpoint, error), img *images.Image, memory int64) *machine.Checkpoint {
	m := labtest.Machine()
	m.Memory = memory
	cp, err := prepare(b.Context(), img, scenarios.Resolved{
		Scenario: "benchmark", Machine: m, Pool: scenarios.Pool{Name: pool.Name, Layout: pool.Layout},
	})
	if err != nil {
		b.Fatal(err)
	}
	return cp
}

// measureFork times from the request to a machine whose CPUs run. The private memory, in bytes, is that of an idle fork.
func measureFork(b *testing.B, d *vm.Driver, cp *machine.Checkpoint, next int) (median time.Duration, private int64) {
	var times []time.Duration
	for i := range rounds + 1 {
		d.Settle()
		start := time.Now()
		m, err := d.Fork(b.Context(), cp, machine.ForkOptions{Next: next})
		if err != nil {
			b.Fatal(err)
		}
		if i > 0 || next == 0 { // the first has nothing to take
			times = append(times, time.Since(start))
		}
		private = privateMemory(b, m)
		if err := m.Close(); err != nil {
			b.Fatal(err)
		}
	}
	// The last one restored ahead is not left to the next measurement.
	if next > 0 {
		d.Settle()
		if m, err := d.Fork(b.Context(), cp, machine.ForkOptions{Paused: true}); err == nil {
			m.Close()
		}
	}
	slices.Sort(times)
	return times[len(times)/2], private
}

func privateMemory(b *testing.B, m machine.Machine) (bytes int64) {
	b.Helper()
	procs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		b.Fatal(err)
	}
	for _, p := range procs {
		line, err := os.ReadFile(p)
		if err != nil || !strings.Contains(string(line), "vdevil-"+m.ID()+"\x00") {
			continue
		}
		rollup, err := os.ReadFile(filepath.Join(filepath.Dir(p), "smaps_rollup"))
		if err != nil {
			b.Fatal(err)
		}
		for line := range strings.Lines(string(rollup)) {
			if f := strings.Fields(line); strings.HasPrefix(line, "Private_") {
				kib, _ := strconv.ParseInt(f[1], 10, 64)
				bytes += kib << 10
			}
		}
	}
	if bytes == 0 {
		b.Fatal("no QEMU process of the machine was found")
	}
	return bytes
}

// measureLoadvm lets QEMU save the same guest by its own means, which wants every disk in qcow2, and load it again.
func measureLoadvm(b *testing.B, d machine.Driver, cp *machine.Checkpoint) (median time.Duration, state int64) {
	m, err := d.Fork(b.Context(), cp, machine.ForkOptions{Paused: true})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	dir, err := os.MkdirTemp("", "vd")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	monitor := startCopy(b, m, cp, dir)
	hmp := func(line string) {
		if out, err := monitor.HMP(b.Context(), line); err != nil || strings.TrimSpace(out) != "" {
			b.Fatalf("%s: %s %v", line, out, err)
		}
	}
	hmp("savevm s")
	info, err := os.Stat(filepath.Join(dir, "root.qcow2"))
	if err != nil {
		b.Fatal(err)
	}
	times := make([]time.Duration, 0, rounds)
	for range rounds {
		start := time.Now()
		hmp("loadvm s")
		hmp("cont")
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	return times[len(times)/2], info.Sys().(*syscall.Stat_t).Blocks * 512
}

// startCopy restores the checkpoint in a QEMU like m's, but with disks that hold snapshots.
func startCopy(b *testing.B, m machine.Machine, cp *machine.Checkpoint, dir string) *qmp.Client {
	b.Helper()
	args := slices.Clone(m.Command())
	socket := filepath.Join(dir, "qmp.sock")
	for i, a := range args {
		switch {
		case args[max(0, i-1)] == "-qmp":
			args[i] = "unix:" + socket + ",server=on,wait=on"
		case args[max(0, i-1)] == "-blockdev":
			args[i] = withSnapshots(b, a, cp.Dir, dir)
		}
	}
	cmd := exec.CommandContext(b.Context(), args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	monitor, err := qmp.Dial(b.Context(), socket)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { monitor.Close() })
	restore(b, monitor, cp, filepath.Join(dir, "migrate.sock"))
	return monitor
}

// withSnapshots is a disk as QEMU's command line has it, but with a qcow2 file of its own, in dir, on top of the checkpoint's.
func withSnapshots(b *testing.B, blockdev, checkpoint, dir string) string {
	b.Helper()
	var node struct {
		Name   string            `json:"node-name"`
		Driver string            `json:"driver"`
		File   map[string]string `json:"file"`
	}
	if err := json.Unmarshal([]byte(blockdev), &node); err != nil {
		b.Fatal(err)
	}
	backing, copied := filepath.Join(checkpoint, filepath.Base(node.File["filename"])), filepath.Join(dir, node.Name+".qcow2")
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-b", backing, "-F", node.Driver, copied).CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	node.Driver, node.File["filename"] = "qcow2", copied
	text, err := json.Marshal(node)
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}

func restore(b *testing.B, monitor *qmp.Client, cp *machine.Checkpoint, socket string) {
	b.Helper()
	capabilities := map[string]any{"capabilities": []map[string]any{{"capability": "x-ignore-shared", "state": true}, {"capability": "events", "state": true}}}
	if err := monitor.Execute(b.Context(), "migrate-set-capabilities", capabilities, nil); err != nil {
		b.Fatal(err)
	}
	events, cancel := monitor.Subscribe("MIGRATION")
	defer cancel()
	if err := monitor.Execute(b.Context(), "migrate-incoming", map[string]string{"uri": "unix:" + socket}, nil); err != nil {
		b.Fatal(err)
	}
	state, err := os.Open(filepath.Join(cp.Dir, "state"))
	if err != nil {
		b.Fatal(err)
	}
	defer state.Close()
	c, err := net.Dial("unix", socket)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(c, state); err != nil {
		b.Fatal(err)
	}
	c.Close()
	for e := range events {
		if strings.Contains(string(e.Data), `"completed"`) {
			break
		}
	}
	// Saved memory must include what lies in the file.
	capabilities["capabilities"] = []map[string]any{{"capability": "x-ignore-shared", "state": false}}
	if err := monitor.Execute(b.Context(), "migrate-set-capabilities", capabilities, nil); err != nil {
		b.Fatal(err)
	}
}
