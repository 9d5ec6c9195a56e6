package e2e

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gexec"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/machine/libvirt"
)

// The exit statuses that the command promises.
const (
	held    = 0
	notHeld = 1
	misused = 2
	trouble = 3
)

// home is where the command believes its user to live: directories that no other lab uses.
type home struct {
	dir, run string
	vdevil   string
	driver   []string // arguments of commands that start guests
}

// home makes one, empty, on the file system where the user's cache is: an image does not fit into a /tmp in memory. It
// lies where gc looks, in case nobody is left to remove it.
func (b *bench) home() home {
	GinkgoHelper()
	var id [4]byte
	_, _ = rand.Read(id[:]) // never fails
	name := "e2e-" + hex.EncodeToString(id[:])
	h := home{dir: filepath.Join(lab.MachinesDir(b.dirs), name), run: filepath.Join(b.dirs.Run, name), vdevil: b.vdevil}
	if b.driver != lab.Drivers()[0] {
		h.driver = []string{"--driver", b.driver, "--connect", b.uri}
	}
	for _, dir := range []string{h.dir, h.run} {
		DeferCleanup(os.RemoveAll, dir)
		Expect(host.Claim(dir)).To(Succeed())
	}
	d := h.dirs()
	for _, dir := range []string{d.Cache, d.State, d.Run} {
		Expect(os.MkdirAll(dir, 0o700)).To(Succeed())
	}
	return h
}

// furnished is a home with what the user's cache holds, such as images and checkpoints, but for the machines.
func (b *bench) furnished() home {
	GinkgoHelper()
	h := b.home()
	entries, err := os.ReadDir(b.dirs.Cache)
	Expect(err).NotTo(HaveOccurred())
	for _, e := range entries {
		if path := filepath.Join(b.dirs.Cache, e.Name()); e.IsDir() && path != lab.MachinesDir(b.dirs) {
			Expect(os.Symlink(path, filepath.Join(h.dirs().Cache, e.Name()))).To(Succeed())
		}
	}
	return h
}

func (h home) dirs() host.Dirs {
	return host.Dirs{
		Cache: filepath.Join(h.dir, "cache", "vdevil"), State: filepath.Join(h.dir, "state", "vdevil"),
		Run: filepath.Join(h.run, "vdevil"),
	}
}

// command is vdevil with arguments. It does not take CI's word for a user's yes.
func (h home) command(args ...string) *exec.Cmd {
	if slices.Contains([]string{"run", "resume", "repeat", "atlas", "peek", "shell", "crash", "bisect"}, args[0]) {
		args = append(args, h.driver...)
	}
	return h.plain(args...)
}

// plain is vdevil with nothing but arguments.
func (h home) plain(args ...string) *exec.Cmd {
	cmd := exec.Command(h.vdevil, args...)
	d := h.dirs()
	cmd.Env = append(os.Environ(), "CI=", "XDG_CACHE_HOME="+filepath.Dir(d.Cache), "XDG_STATE_HOME="+filepath.Dir(d.State),
		"XDG_RUNTIME_DIR="+filepath.Dir(d.Run))
	return cmd
}

// start runs vdevil in a session of its own, by which its children and theirs can be told from all other processes. It
// ends with the spec.
func (h home) start(args ...string) *gexec.Session { return start(h.command(args...)) }

func start(cmd *exec.Cmd) *gexec.Session {
	GinkgoHelper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	s, err := gexec.Start(cmd, GinkgoWriter, GinkgoWriter)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() {
		s.Kill().Wait()
		for _, p := range family(s) { // none, if the lab keeps its promises
			_ = syscall.Kill(p.PID, syscall.SIGKILL) // it may have ended meanwhile
		}
	})
	DeferCleanup(func(ctx SpecContext) { // first, when the spec has failed: let it clean up, too
		Eventually(ctx, s.Terminate()).Should(gexec.Exit())
	}, NodeTimeout(time.Minute))
	return s
}

// runs ends an Eventually that waits for something a command will not do any more.
func runs(s *gexec.Session) {
	if status := s.ExitCode(); status != -1 {
		StopTrying(fmt.Sprintf("the command has ended with status %d", status)).Now()
	}
}

// family are the processes of a session that run.
func family(s *gexec.Session) []process {
	return processes(func(p process) bool { return p.Session == s.Command.Process.Pid })
}

// interrupt does what Ctrl-C in a terminal does: everybody in the foreground gets the signal.
func interrupt(s *gexec.Session) {
	GinkgoHelper()
	Expect(syscall.Kill(-s.Command.Process.Pid, syscall.SIGINT)).To(Succeed())
}

// owned are the directories of machines, and of their sockets, that a process has claimed.
func (h home) owned(pid int) (dirs []string) {
	GinkgoHelper()
	storage, err := libvirt.Storage()
	Expect(err).NotTo(HaveOccurred())
	for _, parent := range []string{lab.MachinesDir(h.dirs()), h.dirs().Run, storage} {
		entries, err := os.ReadDir(parent)
		if os.IsNotExist(err) { // nobody has used it yet
			continue
		}
		Expect(err).NotTo(HaveOccurred())
		for _, e := range entries {
			owner, err := os.ReadFile(filepath.Join(parent, e.Name(), "owner"))
			if os.IsNotExist(err) { // killed before it could say so
				continue
			}
			Expect(err).NotTo(HaveOccurred())
			p, err := host.ParseProcess(strings.TrimSpace(string(owner)))
			Expect(err).NotTo(HaveOccurred())
			if p.PID == pid {
				dirs = append(dirs, filepath.Join(parent, e.Name()))
			}
		}
	}
	return dirs
}
