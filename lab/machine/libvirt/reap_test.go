package libvirt

import (
	"net"
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
