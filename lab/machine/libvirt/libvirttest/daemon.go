// Package libvirttest runs a libvirtd for tests, beside the computer's own and apart from it: it can be stopped and
// started, and its domains are nobody else's. Root gets a system daemon in a mount namespace, others a session daemon.
package libvirttest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/host/hosttest"
)

// Daemon is a libvirtd.
type Daemon struct {
	// URI is where it is found.
	URI string

	dir string
	run string // root's only; what is in dir leads there
	cmd *exec.Cmd
}

// virsh is what tests look at domains with; the lab itself needs it not.
var virsh = host.Package{Needs: "virsh", Name: "libvirt-clients", Why: "shows what tests look at"}

// limit is for a libvirtd to start or to stop, on a host that is busy with other tests.
const limit = 2 * time.Minute

// Start runs a libvirtd until the test ends, with lines of its own for libvirtd.conf. It is installed where there is none.
func Start(t testing.TB, conf ...string) *Daemon {
	t.Helper()
	if err := host.Install(t.Context(), host.Missing(append(host.Libvirt(), virsh)...), hosttest.Install(hosttest.Dirs(t))); err != nil {
		t.Fatal(err)
	}
	// Sockets lie in it: its name must be short, and QEMU's user must be able to enter it.
	dir, err := os.MkdirTemp("/tmp", "vdevil-libvirt-")
	if err != nil {
		t.Fatal(err)
	}
	d := &Daemon{dir: dir}
	t.Cleanup(func() {
		if d.cmd != nil {
			d.Stop(t)
		}
		if t.Failed() {
			log, _ := os.ReadFile(d.path("libvirtd.log"))
			t.Logf("libvirtd says:\n%s", log[max(0, len(log)-4096):])
		}
		if err := errors.Join(os.RemoveAll(dir), os.RemoveAll(d.run)); err != nil {
			t.Error(err)
		}
	})
	if err := d.furnish(conf); err != nil {
		t.Fatal(err)
	}
	d.Start(t)
	return d
}

func (d *Daemon) path(elements ...string) string {
	return filepath.Join(append([]string{d.dir}, elements...)...)
}

// places are the directories of the system's libvirtd that this one has its own of. The logs of domains, whose names are
// nobody else's, lie where the lab looks for them.
var places = map[string]string{"run": "/run/libvirt", "lib": "/var/lib/libvirt/qemu", "etc": "/etc/libvirt"}

// memory is a file system in memory. A computer's /run is one, a container's need not be: libvirt syncs what it writes there.
const memory = "/dev/shm"

func (d *Daemon) furnish(lines []string) error {
	if err := os.Chmod(d.dir, 0o755); err != nil {
		return err
	}
	conf := d.path("libvirt")
	d.URI = "qemu:///session?socket=" + d.path("libvirt", "libvirt-sock")
	if os.Getuid() == 0 {
		conf = d.path("etc")
		d.URI = "qemu:///system?socket=" + d.path("run", "libvirt-sock")
		var err error
		if d.run, err = os.MkdirTemp(memory, "vdevil-libvirt-"); err != nil {
			return err
		}
		if err := errors.Join(os.Chmod(d.run, 0o755), os.Symlink(d.run, d.path("run"))); err != nil {
			return err
		}
		for name := range places {
			if err := os.MkdirAll(d.path(name), 0o755); err != nil {
				return err
			}
		}
	}
	if err := os.MkdirAll(conf, 0o755); err != nil {
		return err
	}
	// Without virtlogd: one daemon is enough to look after.
	if err := os.WriteFile(filepath.Join(conf, "qemu.conf"), []byte("stdio_handler = \"file\"\n"), 0o644); err != nil {
		return err
	}
	// Of two lines about one thing the first counts.
	lines = append(lines, `auth_unix_rw = "none"`, fmt.Sprintf(`log_outputs = "3:file:%s"`, d.path("libvirtd.log")))
	return os.WriteFile(d.path("libvirtd.conf"), []byte(strings.Join(lines, "\n")+"\n"), 0o644)
}

func (d *Daemon) command() (*exec.Cmd, error) {
	program, err := host.Program("libvirtd")
	if err != nil {
		return nil, err
	}
	args := []string{program, "--config", d.path("libvirtd.conf"), "--pid-file", d.path("pid")}
	if os.Getuid() != 0 {
		cmd := exec.Command(args[0], args[1:]...)
		for _, name := range []string{"RUNTIME_DIR", "CONFIG_HOME", "CACHE_HOME", "DATA_HOME"} {
			cmd.Env = append(cmd.Environ(), "XDG_"+name+"="+d.dir)
		}
		return cmd, nil
	}
	var script strings.Builder
	for name, place := range places {
		fmt.Fprintf(&script, "mkdir -p %s && mount --bind %s %s && ", place, d.path(name), place)
	}
	return exec.Command("unshare", append([]string{"--mount", "sh", "-c", script.String() + `exec "$@"`, "sh"}, args...)...), nil
}

// Start starts a daemon that was stopped, and waits until it is ready.
func (d *Daemon) Start(t testing.TB) {
	t.Helper()
	cmd, err := d.command()
	if err != nil {
		t.Fatal(err)
	}
	// It tells systemd that it is ready, see sd_notify(3).
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: d.path("notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(d.path("notify"))
	defer notify.Close()
	cmd.Env = append(cmd.Environ(), "NOTIFY_SOCKET="+d.path("notify"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	// Its guests are QEMUs of their own, not to be interrupted with the test.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.cmd = cmd
	if err := notify.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	for buf := make([]byte, 256); ; {
		n, err := notify.Read(buf)
		if err != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			d.cmd = nil
			t.Fatalf("libvirtd does not come up: %v\n%s", err, out.Bytes())
		}
		if bytes.Contains(buf[:n], []byte("READY=1")) {
			return
		}
	}
}

// Stop ends the daemon, as systemd does. Its guests run on.
func (d *Daemon) Stop(t testing.TB) {
	t.Helper()
	d.end(t, syscall.SIGTERM)
}

// Crash ends the daemon without notice.
func (d *Daemon) Crash(t testing.TB) {
	t.Helper()
	d.end(t, syscall.SIGKILL)
}

func (d *Daemon) end(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	stop := time.AfterFunc(limit, func() { _ = d.cmd.Process.Kill() })
	defer stop.Stop()
	_ = d.cmd.Wait() // by what it ended does not matter
	d.cmd = nil
}

// Virsh runs virsh against the daemon.
func (d *Daemon) Virsh(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command("virsh", append([]string{"--connect", d.URI}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("virsh %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Restart stops the daemon, calls away, and starts it again.
func (d *Daemon) Restart(t testing.TB, away func()) {
	t.Helper()
	d.Stop(t)
	defer d.Start(t)
	away()
}
