package libvirt

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	rpc "github.com/digitalocean/go-libvirt"
)

// A QEMU that was started by a libvirtd that is no more, and has connected its console, does not stay behind.
func TestReap(t *testing.T) {
	dir := t.TempDir()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "console"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := &process{domain: rpc.Domain{Name: "vdevil-0a"}, dir: dir}
	if err := p.reap(l); err != nil { // nobody has connected
		t.Fatal(err)
	}
	qemu := exec.Command("qemu-system-x86_64", "-S", "-machine", "none", "-display", "none", "-nodefaults",
		"-chardev", "socket,id=console,path="+l.Addr().String())
	if err := qemu.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = qemu.Process.Kill() }()
	raw, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { _, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1) }); err != nil {
		t.Fatal(err)
	}
	if err := p.reap(l); err != nil {
		t.Fatal(err)
	}
	if err := qemu.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("QEMU ended with %v", err)
	}
}

// A QEMU that was started by a libvirtd that was killed in that moment, together with the lab, is found by its command line,
// and a neighbour of the same name in another directory is let be.
func TestCollectUnrecorded(t *testing.T) {
	machines := t.TempDir()
	begin := func(id string) *exec.Cmd {
		dir := filepath.Join(machines, id, "0000000a")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := record(dir, uriFile, "qemu:///system?socket="+filepath.Join(machines, "no-libvirtd")); err != nil {
			t.Fatal(err)
		}
		qemu := exec.Command("qemu-system-x86_64", "-S", "-machine", "none", "-display", "none", "-nodefaults",
			"-name", "guest=vdevil-0000000a,debug-threads=on", "-chardev", "file,id=console,path="+filepath.Join(dir, "out"))
		if err := qemu.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = qemu.Process.Kill() })
		return qemu
	}
	left, neighbour := begin("left"), begin("neighbour")
	dir := filepath.Join(machines, "left", "0000000a")
	destroyed, err := Collect(dir)
	if err != nil || destroyed != "vdevil-0000000a" {
		t.Fatalf("destroyed %q, %v", destroyed, err)
	}
	if err := left.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("QEMU ended with %v", err)
	}
	if destroyed, err = Collect(dir); err != nil || destroyed != "" {
		t.Errorf("once more: %q, %v", destroyed, err)
	}
	if err := neighbour.Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("the neighbour: %v", err)
	}
}
