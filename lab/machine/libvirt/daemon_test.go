package libvirt

import (
	"encoding/xml"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	rpc "github.com/digitalocean/go-libvirt"
	"golang.org/x/sys/unix"
	xmldef "libvirt.org/go/libvirtxml"

	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/libvirt/libvirttest"
)

// deserted is a socket that nobody listens at any more.
func deserted(t *testing.T, path string) string {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// dead is the owner of a machine whose lab is gone: process 1 did not start that late.
func dead(t *testing.T, id string) owner {
	t.Helper()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return owner{Space: namespace, Host: name, Process: host.Process{PID: 1, Started: 1 << 60}.String(), Machine: id}
}

// bare creates a domain with nothing in it. Its owner is in its metadata, if it has one.
func bare(t *testing.T, uri URI, name string, o *owner) {
	t.Helper()
	lib, err := dial(uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lib.Disconnect() })
	d := xmldef.Domain{
		Type: "qemu", Name: name, Memory: &xmldef.DomainMemory{Value: 16, Unit: "MiB"}, VCPU: &xmldef.DomainVCPU{Value: 1},
		OS: &xmldef.DomainOS{Type: &xmldef.DomainOSType{Arch: arch, Machine: "q35", Type: "hvm"}},
	}
	if o != nil {
		d.Metadata = &xmldef.DomainMetadata{XML: marshal(t, *o)}
	}
	text, err := d.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	made, err := lib.DomainCreateXML(text, rpc.DomainStartPaused)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lib.DomainDestroy(made) }) // it may be gone: that is what is tested
}

// TestDaemon has a libvirtd of its own.
func TestDaemon(t *testing.T) {
	d := libvirttest.Start(t)
	uri, err := ParseURI(d.URI)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("gc destroys what is its own and dead, and nothing else", func(t *testing.T) {
		mine, err := self("aaaa0002")
		if err != nil {
			t.Fatal(err)
		}
		lost, other := dead(t, "aaaa0001"), dead(t, "aaaa0001")
		elsewhere := dead(t, "aaaa0005")
		elsewhere.Host = "another-computer"
		for id, c := range map[string]struct {
			owner *owner
			gone  bool
		}{
			"aaaa0001": {&lost, true}, "aaaa0002": {&mine, false}, "aaaa0003": {nil, false}, "aaaa0004": {&other, false}, "aaaa0005": {&elsewhere, false},
		} {
			bare(t, uri, "vdevil-"+id, c.owner)
			dir := filepath.Join(t.TempDir(), id)
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if name, err := Collect(dir); name != "" || err != nil { // a QEMU child's
				t.Errorf("%s without a URI: %q, %v", id, name, err)
			}
			if err := record(dir, uriFile, d.URI); err != nil {
				t.Fatal(err)
			}
			name, err := Collect(dir)
			if err != nil || (name != "") != c.gone {
				t.Errorf("%s: %q, %v", id, name, err)
			}
			if listed := strings.Contains(d.Virsh(t, "list", "--name"), "vdevil-"+id); listed == c.gone {
				t.Errorf("%s: listed is %t", id, listed)
			}
		}
	})
	t.Run("gc meets a domain that ends while it looks", func(t *testing.T) {
		lost := dead(t, "aaaa0006")
		bare(t, uri, "vdevil-aaaa0006", &lost)
		lib, err := dial(uri)
		if err != nil {
			t.Fatal(err)
		}
		defer lib.Disconnect()
		domain, err := lib.DomainLookupByName("vdevil-aaaa0006")
		if err != nil {
			t.Fatal(err)
		}
		d.Virsh(t, "destroy", domain.Name)
		if gone, err := ownerless(lib, domain, "aaaa0006"); gone || err != nil {
			t.Errorf("got %t, %v", gone, err)
		}
	})
	t.Run("a name that is taken", func(t *testing.T) {
		bare(t, uri, "vdevil-0a", nil)
		l := &launcher{conn: newConn(uri), running: map[*process]struct{}{}}
		if err := l.open(t.Context(), machine.TCG); err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		s := testSpec()
		dir := t.TempDir()
		s.Dir, s.Run = dir, dir
		text, err := l.domain(s, "11111111111111111111111111111111", files{kernel: "/k", initrd: "/i", root: "/r", ram: "/ram"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = l.create(t.Context(), s, text)
		if err == nil {
			t.Fatal("the name could be taken twice")
		}
		if err := l.remedy(s, err); !strings.Contains(err.Error(), "virsh -c "+d.URI+" destroy vdevil-0a") {
			t.Errorf("no remedy: %v", err)
		}
	})
	t.Run("a file that QEMU may not read", func(t *testing.T) {
		l := &launcher{conn: newConn(uri), running: map[*process]struct{}{}}
		if err := l.open(t.Context(), machine.TCG); err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		s := testSpec()
		s.ID, s.Disks, s.Run = "0b", nil, t.TempDir()
		console, err := net.Listen("unix", s.Socket("console")) // QEMU of a session finds out by itself, and this comes first
		if err != nil {
			t.Fatal(err)
		}
		defer console.Close()
		kernel := filepath.Join(t.TempDir(), "root.qcow2")
		if err := os.WriteFile(kernel, []byte("closed"), 0o000); err != nil {
			t.Fatal(err)
		}
		s.Dir = filepath.Dir(kernel)
		text, err := l.domain(s, "11111111111111111111111111111111", files{kernel: kernel, initrd: kernel, root: kernel, ram: kernel})
		if err != nil {
			t.Fatal(err)
		}
		_, err = l.create(t.Context(), s, text)
		if err == nil {
			t.Fatal("it started")
		}
		if err := l.remedy(s, err); !strings.Contains(err.Error(), nameOf(l.user)) || !strings.Contains(err.Error(), s.Dir) {
			t.Errorf("no remedy: %v", err)
		}
	})
	t.Run("doctor", func(t *testing.T) {
		storage, err := Storage()
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		checks := Check(t.Context(), uri, machine.TCG, storage, dir)
		if len(checks) < 4 || !checks[0].OK || !strings.Contains(checks[0].Detail, "pc-q35-") {
			t.Errorf("got %+v", checks)
		}
		d.Stop(t)
		defer d.Start(t)
		checks = Check(t.Context(), uri, machine.TCG, storage, dir)
		if len(checks) != 1 || checks[0].OK || checks[0].Remedy == "" {
			t.Errorf("without a daemon: %+v", checks)
		}
	})
}

// TestRefused is turned away by a libvirtd that runs: by the mode of its socket, and by the way it authenticates.
func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		conf   string
		closed bool
		remedy string
	}{
		{"", true, "usermod -aG libvirt"},
		{`auth_unix_rw = "sasl"`, false, "set auth_unix_rw"},
	} {
		uri, err := ParseURI(libvirttest.Start(t, tt.conf).URI)
		if err != nil {
			t.Fatal(err)
		}
		if tt.closed {
			if err := os.Chmod(uri.sockets()[0], 0); err != nil {
				t.Fatal(err)
			}
		}
		err = asNobody(func() error {
			_, err := dial(uri)
			return err
		})
		if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), tt.remedy) {
			t.Errorf("%q: %v", tt.conf, err)
		}
	}
}

func TestStorageVariable(t *testing.T) {
	for value, want := range map[string]string{"": "/var/lib/libvirt/images/vdevil", "/srv/vdevil": "/srv/vdevil", "machines": ""} {
		t.Setenv(StorageVariable, value)
		got, err := Storage()
		if got != want || (err == nil) != (want != "") || err != nil && !strings.Contains(err.Error(), "$"+StorageVariable) {
			t.Errorf("%q: %q, %v", value, got, err)
		}
	}
}

// Debian closes what libvirtd hands to QEMU to all but libvirt's user and group.
func TestOpenState(t *testing.T) {
	closed := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(closed, 0); err != nil {
		t.Fatal(err)
	}
	for path, open := range map[string]bool{"/": true, "/there/is/none": true, closed: false} {
		err := asNobody(func() error { return openState(path) })
		var e *ClosedError
		if (err == nil) != open || !open && (!errors.As(err, &e) || !strings.Contains(e.Remedy, "--connect "+Session)) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// asNobody does something without root's right to pass by the modes of files.
func asNobody(do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocks it: the thread ends with its rights
		if os.Getuid() == 0 {
			const nobody = 65534
			if err := unix.Setfsuid(nobody); err != nil {
				done <- err
				return
			}
		}
		done <- do()
	}()
	return <-done
}

func marshal(t *testing.T, o owner) string {
	t.Helper()
	text, err := xml.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
