package checkpoint

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/guest/guesttest"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/scripttest"
	"github.com/vdevil/vdevil/scenarios"
)

// TestMain lets the test binary be another process that holds a lock.
func TestMain(m *testing.M) {
	if path := os.Getenv("VDEVIL_TEST_HOLD"); path != "" {
		if _, err := host.TryLock(path); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("held")
		select {}
	}
	os.Exit(m.Run())
}

// holdElsewhere has another process hold a lock.
func holdElsewhere(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "hold", "it")
	cmd.Env = append(os.Environ(), "VDEVIL_TEST_HOLD="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("the other process says %q", line)
	}
	return cmd
}

// stage is a cache without a hypervisor: scripted machines, with one guest whose commands run on this computer.
type stage struct {
	t     *testing.T
	guest *guesttest.Server
	image *images.Image
	cache *Cache
	log   string // the guest's programs of ZFS write their arguments into it
	fifo  string // the guest writes into it when it has come to what the test waits for
	// script is played when the n-th machine starts, from 1.
	script func(n int, m *scripttest.Machine)
	// refuse is what the driver says in place of the n-th machine.
	refuse func(n int) error

	mu       sync.Mutex
	told     []string // by Progress, with "done" behind what took time
	booted   []machine.Config
	forked   []fork
	machines []*scripttest.Machine
}

// fork is one that was asked for.
type fork struct {
	Of      string // the directory of its checkpoint
	Options machine.ForkOptions
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{
		t: t, guest: guesttest.New(t), log: filepath.Join(t.TempDir(), "log"), fifo: filepath.Join(t.TempDir(), "fifo"),
		script: func(int, *scripttest.Machine) {}, refuse: func(int) error { return nil },
	}
	if err := syscall.Mkfifo(s.fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	s.guest.Program("udevadm", "")
	s.guest.Program("install", "")
	s.program("zpool", "")
	s.program("zfs", "")
	s.image = &images.Image{
		ID: "image", OpenZFS: "2.3.2", Kernel: "vmlinux", Initrd: "initrd", Root: "root.ext4", LoginKey: s.guest.Login, HostKey: s.guest.Host,
	}
	s.cache = &Cache{
		Dir: t.TempDir(), Driver: &scripttest.Driver{OnBoot: s.boot, OnFork: s.fork}, Kernels: &Kernels{}, Open: scripttest.OpenCheckpoint,
		Progress: func(what string, took time.Duration) {
			if took > 0 {
				what += " done"
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.told = append(s.told, what)
		},
	}
	t.Cleanup(func() {
		for i, m := range s.machines {
			select {
			case <-m.Done():
			default:
				t.Errorf("machine %d was left running", i+1)
			}
		}
	})
	return s
}

// program is one of ZFS that notes what it is asked and does what a script says.
func (s *stage) program(name, script string) {
	s.t.Helper()
	s.guest.Program(name, "echo "+name+` "$@" >>`+s.log+"\n"+script)
}

// asked is what programs of ZFS were asked, in order.
func (s *stage) asked() string {
	s.t.Helper()
	text, err := os.ReadFile(s.log)
	if err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
	return string(text)
}

// reaching is a command that tells the test that the guest has come there, and never ends.
func (s *stage) reaching() string { return "echo here >" + s.fifo + "; sleep infinity" }

// reached waits until a command that is reaching runs.
func (s *stage) reached() {
	if _, err := os.ReadFile(s.fifo); err != nil { // to its end: a writer without a reader is killed
		s.t.Error(err)
	}
}

func (s *stage) boot(_ context.Context, c machine.Config) (machine.Machine, error) {
	s.mu.Lock()
	s.booted = append(s.booted, c)
	s.mu.Unlock()
	return s.start(c)
}

func (s *stage) fork(_ context.Context, cp *machine.Checkpoint, o machine.ForkOptions) (machine.Machine, error) {
	s.mu.Lock()
	s.forked = append(s.forked, fork{cp.Dir, o})
	s.mu.Unlock()
	return s.start(cp.Config)
}

func (s *stage) start(c machine.Config) (machine.Machine, error) {
	s.mu.Lock()
	n := len(s.booted) + len(s.forked)
	s.mu.Unlock()
	if err := s.refuse(n); err != nil {
		return nil, err
	}
	m := scripttest.New(s.t)
	m.Config = c
	m.OnDial = func(ctx context.Context, _ int) (net.Conn, error) { return s.guest.Dial(ctx) }
	m.OnCheckpoint = func(context.Context, string) error { return nil }
	s.script(n, m)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.machines = append(s.machines, m)
	return m, nil
}

// resolved is an arm whose preparation writes a file.
func (s *stage) resolved(workload ...scenarios.Step) scenarios.Resolved {
	return scenarios.Resolved{
		Scenario: "scripted", Limit: time.Hour, Workload: workload,
		Machine: scenarios.Machine{CPUs: 2, Memory: 1 << 30, Disks: []scenarios.DataDisk{{Name: "v0", Size: 64 << 20}, {Name: "v1", Size: 128 << 20}}},
		Pool:    scenarios.Pool{Name: "tank", Layout: []string{"mirror", "v0", "v1"}, Options: map[string]string{"ashift": "12"}, Properties: map[string]string{"atime": "off"}},
		Prepare: []scenarios.Step{{Write: &scenarios.Write{File: s.file(), Size: 4096, Content: "label"}}, {Snapshot: "tank@before"}},
	}
}

// file is what the preparation writes, on this computer.
func (s *stage) file() string { return filepath.Join(filepath.Dir(s.log), "file") }

// knowKernel has the kernel of forks of an arm's checkpoint known, so that no guest is asked.
func (s *stage) knowKernel(r scenarios.Resolved) {
	dir := filepath.Join(s.cache.Dir, s.cache.key(s.image, "prepared", r.PrepareKey()))
	s.cache.Kernels.types = map[string]*kernel.Types{s.image.ID: {}}
	s.cache.Kernels.layouts = map[string]kernel.Layout{dir: {}}
}

// checkpoints are the names of what is in the cache, without the IDs and the locks.
func (s *stage) checkpoints() string {
	s.t.Helper()
	entries, err := os.ReadDir(s.cache.Dir)
	if err != nil {
		s.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), lockSuffix) {
			names = append(names, strings.Split(e.Name(), "-")[1])
		}
	}
	return strings.Join(names, " ")
}
