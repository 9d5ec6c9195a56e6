package libvirt

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rpc "github.com/digitalocean/go-libvirt"
	"golang.org/x/sys/unix"

	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/vm"
)

func TestHow(t *testing.T) {
	for _, tt := range []struct {
		detail rpc.DomainEventStoppedDetailType
		seen   bool
		want   string
	}{
		{rpc.DomainEventStoppedShutdown, true, ""},
		{rpc.DomainEventStoppedCrashed, true, ""},
		{rpc.DomainEventStoppedDestroyed, true, "destroyed by somebody"},
		{rpc.DomainEventStoppedFailed, true, "without notice"},
		{0, false, "libvirtd was away"},
	} {
		err := how(tt.detail, tt.seen)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("how(%d, %t) = %v, want %q", tt.detail, tt.seen, err, tt.want)
		}
	}
}

// guests is how libvirt lists machines, in short.
const guests = `<capabilities><host><secmodel><model>dac</model><baselabel type='kvm'>%s</baselabel><baselabel type='qemu'>+7:+8</baselabel>
</secmodel></host><guest><os_type>hvm</os_type><arch name='x86_64'><machine canonical='pc-q35-7.2'>q35</machine>
<domain type='qemu'/>%s</arch></guest></capabilities>`

func TestCapabilities(t *testing.T) {
	const kvm = "<domain type='kvm'><machine canonical='pc-q35-8.0'>q35</machine></domain>"
	both := fmt.Sprintf(guests, "+7:+8", kvm)
	for accel, want := range map[machine.Accel]string{machine.TCG: "pc-q35-7.2", machine.KVM: "pc-q35-8.0"} {
		c, err := parseCapabilities(both, accel)
		if err != nil || c.machine != want || c.user == nil || *c.user != (vm.Owner{UID: 7, GID: 8}) || !slices.Equal(c.models, []string{"dac"}) {
			t.Errorf("%s: %+v, %v", accel, c, err)
		}
		if got := c.runsAs(0, 0); got.UID != 7 {
			t.Errorf("root's QEMU runs as %d", got.UID)
		}
		if got := c.runsAs(5, 6); got != (vm.Owner{UID: 5, GID: 6}) {
			t.Errorf("an ordinary user's QEMU runs as %v", got)
		}
	}
	for name, text := range map[string]string{
		"no KVM": fmt.Sprintf(guests, "+7:+8", ""), "nothing": "<capabilities/>", "no XML": "{}",
		"a user by name": fmt.Sprintf(guests, "ann", kvm),
	} {
		if c, err := parseCapabilities(text, machine.KVM); err == nil {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

func TestVersion(t *testing.T) {
	if err := checkVersion(needed); err != nil {
		t.Error(err)
	}
	if err := checkVersion(8_009_001); err == nil || !strings.Contains(err.Error(), "8.9.1") || !strings.Contains(err.Error(), "9.0.0") {
		t.Errorf("got %v", err)
	}
}

// TestStorage closes a directory on the way to the machines to others.
func TestStorage(t *testing.T) {
	top, err := os.MkdirTemp("/tmp", "vdevil-storage-") // not t.TempDir, which is closed already
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	dir := filepath.Join(top, "closed", "machines")
	someone := vm.Owner{UID: os.Getuid() + 12345, GID: os.Getgid() + 12345}
	if err := errors.Join(os.Chmod(top, 0o711), enterable(dir, someone)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	err = enterable(dir, someone)
	var closed *ClosedError
	if !errors.As(err, &closed) || closed.Dir != filepath.Dir(dir) || !strings.Contains(err.Error(), "chmod o+x "+closed.Dir) {
		t.Errorf("got %v", err)
	}
	if err := enterable(dir, vm.Owner{UID: os.Getuid()}); err != nil {
		t.Errorf("its owner: %v", err)
	}
}

// TestUnreachable has no daemon at all, and one that has left its socket behind.
func TestUnreachable(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		filepath.Join(dir, "none"): "there is no " + filepath.Join(dir, "none"), deserted(t, filepath.Join(dir, "sock")): "nobody listens",
	} {
		uri, err := ParseURI("qemu:///system?socket=" + path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = New(t.Context(), uri, vm.Options{Dir: dir, Accel: machine.TCG})
		if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "systemctl start libvirtd") {
			t.Errorf("%s: %v", path, err)
		}
	}
	system, err := ParseURI(System)
	if err != nil {
		t.Fatal(err)
	}
	for _, denied := range []error{fs.ErrPermission, rpc.Error{Code: uint32(rpc.ErrAuthUnavailable), Message: "no polkit agent"}} {
		if err := refused(system, "/sock", denied); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "usermod -aG libvirt") {
			t.Errorf("%v: %v", denied, err)
		}
	}
	if err := refused(system, "/sock", rpc.Error{Code: uint32(rpc.ErrInternalError), Message: "no user record"}); strings.Contains(err.Error(), "usermod") {
		t.Errorf("a wrong remedy: %v", err)
	}
	far, err := ParseURI("qemu+ssh://far.example/system")
	if err != nil {
		t.Fatal(err)
	}
	var remote *RemoteError
	if _, err := New(t.Context(), far, vm.Options{}); !errors.As(err, &remote) || !strings.Contains(err.Error(), "ssh far.example vdevil") {
		t.Errorf("another computer: %v", err)
	}
}

// TestEnded has a QEMU that has ended, and a libvirt that is late to say so.
func TestEnded(t *testing.T) {
	qemu := exec.Command("true")
	if err := qemu.Start(); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(qemu.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := qemu.Wait(); err != nil {
		t.Fatal(err)
	}
	p := &process{pidfd: os.NewFile(uintptr(fd), "pidfd"), ended: make(chan struct{}), clean: make(chan struct{})}
	defer p.pidfd.Close()
	console, guest := net.Pipe()
	guest.Close()
	end := make(chan rpc.DomainEventStoppedDetailType, 1)
	go p.follow(console, io.Discard, end)
	<-p.Ended()
	told := make(chan error, 1)
	go func() { told <- p.Wait() }()
	select {
	case err := <-told:
		t.Errorf("how it ended is known before libvirt has said it: %v", err)
	default:
	}
	end <- rpc.DomainEventStoppedFailed
	if err := <-told; err == nil || !strings.Contains(err.Error(), "without notice") {
		t.Errorf("it ended with %v", err)
	}
}
