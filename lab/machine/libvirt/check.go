package libvirt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/vm"
)

// Check examines whether the libvirtd that a URI names can run the lab's guests, in a directory of machines, from images
// and checkpoints in a cache. It changes nothing but that it makes the directory.
func Check(ctx context.Context, uri URI, accel machine.Accel, dir, cache string) []host.Check {
	daemon := host.Check{Name: "libvirt daemon"}
	if uri.Remote() {
		daemon.Detail, daemon.Remedy = (&RemoteError{uri}).Error(), "run vdevil doctor there"
		if lib, err := dial(uri); err != nil {
			daemon.Detail += fmt.Sprintf("; and %v", err)
		} else {
			daemon.Detail += "; it does answer"
			_ = lib.Disconnect() // it was asked for nothing else
		}
		return []host.Check{daemon}
	}
	l := &launcher{conn: newConn(uri)}
	defer l.conn.close() //nolint:errcheck // everything is said
	if err := l.open(ctx, accel); err != nil {
		daemon.Detail = err.Error()
		var unreachable *UnreachableError
		if errors.As(err, &unreachable) {
			daemon.Detail, daemon.Remedy = fmt.Sprintf("%v: %v", ErrUnreachable, unreachable.Err), unreachable.Remedy
		}
		return []host.Check{daemon}
	}
	daemon.OK, daemon.Detail = true, fmt.Sprintf("%s answers: %s", uri, l.version)
	if !uri.Session() && os.Getuid() != 0 {
		daemon.Remedy = "for guests of your own, --connect " + Session
	}
	return []host.Check{daemon, l.checkUser(), checkKVM("/dev/kvm", l.user), checkMemory(), l.checkStorage(dir, cache)}
}

func (l *launcher) checkUser() host.Check {
	k := host.Check{Name: "libvirt user", OK: true, Detail: "QEMU runs as " + nameOf(l.user)}
	if l.user.UID == os.Getuid() && !l.conn.uri.Session() {
		if err := openState(stateDir); refuses(&k, err) {
			return k
		}
	}
	for _, label := range l.labels() {
		if label.Type == "none" {
			k.Detail += "; not confined by " + label.Model + ", which cannot be told of memory in a file of ours"
		}
	}
	return k
}

// refuses says so in k if err is that a directory is closed to QEMU.
func refuses(k *host.Check, err error) bool {
	var closed *ClosedError
	if !errors.As(err, &closed) {
		return false
	}
	k.OK, k.Detail, k.Remedy = false, fmt.Sprintf("%s may not enter %s, the way to %s", closed.User, closed.Dir, closed.To), closed.Remedy
	return true
}

// checkKVM looks whether QEMU's user may open the device, of which libvirtd looks only whether it works for itself. Where the two
// differ it finds that "KVM was enabled when probing, but it is not available now", and probes again.
func checkKVM(device string, who vm.Owner) host.Check {
	k := host.Check{Name: "libvirt probes", OK: true, Detail: "libvirtd asks a QEMU once what it can do"}
	var st unix.Stat_t
	if unix.Stat(device, &st) == nil && !may(who, st, unix.S_IROTH|unix.S_IWOTH) {
		k.Detail = fmt.Sprintf("%s is closed to %s, so that libvirtd may ask QEMU anew what it can do: a minute for each guest", device, nameOf(who))
		k.Remedy = "sudo chgrp kvm " + device + " && sudo chmod 660 " + device + ", as udev does"
	}
	return k
}

// checkMemory looks at Yama's ptrace_scope: libvirt's QEMU is no child of the lab, so that scope 1 forbids what it allows
// for the other driver.
func checkMemory() host.Check {
	k := host.Check{Name: "libvirt memory", OK: true, Detail: "the lab may change the memory of libvirt's guests"}
	b, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	scope := strings.TrimSpace(string(b))
	switch {
	case err != nil || scope == "0":
	case os.Getuid() == 0 && scope != "3":
	default:
		k.OK, k.Detail = false, fmt.Sprintf("kernel.yama.ptrace_scope is %s: only root may change the memory of libvirt's guests", scope)
		k.Remedy = "sudo sysctl kernel.yama.ptrace_scope=0, or run vdevil as root, or use --driver qemu"
	}
	return k
}

func (l *launcher) checkStorage(dir, cache string) host.Check {
	k := host.Check{Name: "libvirt storage", OK: true, Detail: "machines lie in " + dir}
	if l.user.UID == os.Getuid() {
		return k
	}
	err := enterable(dir, l.user)
	if refuses(&k, err) {
		return k
	}
	var here, there unix.Stat_t
	if err = errors.Join(err, unix.Stat(dir, &here), unix.Stat(cache, &there)); err != nil {
		k.OK, k.Detail = false, err.Error()
		return k
	}
	if here.Dev != there.Dev {
		k.OK, k.Detail = false, fmt.Sprintf("%s and the lab's cache in %s are on two file systems", dir, cache)
		k.Remedy = "set XDG_CACHE_HOME to a directory on the file system of " + dir
	}
	return k
}
