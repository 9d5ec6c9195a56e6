// Package qmptest starts the real QEMU for tests of the protocols it speaks.
package qmptest

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/vdevil/vdevil/lab/host/hosttest"
	"github.com/vdevil/vdevil/lab/machine/qmp"
)

// QEMU is a process that ends with its test.
type QEMU struct {
	*exec.Cmd
	// Dir is for sockets. It is short, for a socket's path has at most 104 bytes.
	Dir string
	// Monitor is the path of the QMP socket.
	Monitor string
}

// Start starts QEMU with the arguments given, no default devices and a monitor that nobody is connected to.
func Start(t testing.TB, args ...string) *QEMU {
	t.Helper()
	hosttest.Packages(t)
	path, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "vd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	q := &QEMU{Dir: dir, Monitor: filepath.Join(dir, "qmp")}
	q.Cmd = exec.CommandContext(t.Context(), path, append([]string{ // wait=on for the sake of qmp.Dial
		"-nodefaults", "-display", "none", "-qmp", "unix:" + q.Monitor + ",server=on,wait=on"}, args...)...)
	q.Stderr = t.Output()
	q.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := q.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = q.Process.Kill() // an error means that it has ended
		_ = q.Wait()         // killed, as was meant
	})
	return q
}

// Dial connects a client that is closed with its test.
func (q *QEMU) Dial(t testing.TB) *qmp.Client {
	t.Helper()
	c, err := qmp.Dial(t.Context(), q.Monitor)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
