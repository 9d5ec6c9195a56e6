// Package libvirt runs each machine as a transient domain of a real libvirtd, where virsh and virt-manager show it and
// libvirt's limits and confinement hold. The guests outlive a libvirtd that is stopped, and a lab that is killed: Collect
// destroys those.
package libvirt

import (
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"

	rpc "github.com/digitalocean/go-libvirt"
	xmldef "libvirt.org/go/libvirtxml"

	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/vm"
)

// Name is the word the user chooses the driver by.
const Name = "libvirt"

const arch = "x86_64"

// launcher starts domains.
type launcher struct {
	conn    *conn
	caps    capabilities
	version string
	user    vm.Owner // whom QEMU runs as

	mu      sync.Mutex
	running map[*process]struct{} // until libvirt has cleaned up behind them
	work    sync.WaitGroup        // what goes on behind them
	failed  error                 // of what was done later
}

// New connects to the libvirtd of this computer that a URI names. Options.Owner is chosen here; where QEMU runs as
// somebody else than the lab, Options.Dir must be a directory that they may enter, and Options.Run is not used.
func New(ctx context.Context, uri URI, o vm.Options) (*vm.Driver, error) {
	if uri.Remote() {
		return nil, &RemoteError{uri}
	}
	l := &launcher{conn: newConn(uri), running: map[*process]struct{}{}}
	if err := l.open(ctx, o.Accel); err != nil {
		return nil, errors.Join(err, l.conn.close())
	}
	if l.user.UID != os.Getuid() {
		if err := enterable(o.Dir, l.user); err != nil {
			return nil, errors.Join(err, l.conn.close())
		}
		o.Owner, o.Run = &l.user, o.Dir
	} else if !uri.Session() {
		if err := openState(stateDir); err != nil {
			return nil, errors.Join(err, l.conn.close())
		}
	}
	return vm.New(l, o), nil
}

func (l *launcher) open(ctx context.Context, accel machine.Accel) error {
	return l.conn.call(ctx, func(lib *rpc.Libvirt) error {
		text, err := lib.ConnectGetCapabilities()
		if err != nil {
			return err
		}
		if l.caps, err = parseCapabilities(text, accel); err != nil {
			return fmt.Errorf("%s: %w", l.conn.uri, err)
		}
		l.user = l.caps.runsAs(os.Getuid(), os.Getgid())
		libvirt, err := lib.ConnectGetLibVersion()
		if err != nil {
			return err
		}
		qemu, err := lib.ConnectGetVersion()
		l.version = fmt.Sprintf("libvirt %s, QEMU %s, %s", release(libvirt), release(qemu), l.caps.machine)
		return err
	})
}

// Name is "libvirt".
func (l *launcher) Name() string { return Name }

// Can is true of all but a clock that counts instructions, for which libvirt's XML has no word.
func (l *launcher) Can(a machine.Ability) bool { return a != machine.CountsTime }

// Version has that of libvirt, which chooses where devices are, that of QEMU and the type of the machine.
func (l *launcher) Version() string { return l.version }

// Close ends the domains that still run, as the children of a process would end with it, and waits until libvirt has
// cleaned up behind all there were.
func (l *launcher) Close() error {
	l.mu.Lock()
	running := slices.Collect(maps.Keys(l.running))
	l.mu.Unlock()
	for _, p := range running {
		p.Kill()
	}
	l.work.Wait()
	return errors.Join(l.failed, l.conn.close())
}

// start notes a process and follows it.
func (l *launcher) start(p *process, follow func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running[p] = struct{}{}
	l.work.Go(func() {
		follow()
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.running, p)
	})
}

// later does something when a channel is closed.
func (l *launcher) later(when <-chan struct{}, do func() error) {
	l.work.Go(func() {
		<-when
		err := do()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.failed = errors.Join(l.failed, err)
	})
}

// capabilities are what libvirt says of the computer, as far as it matters.
type capabilities struct {
	machine string    // q35 with its version, so that a newer QEMU does not make another computer of it
	models  []string  // how libvirt confines QEMU
	user    *vm.Owner // whom libvirt runs QEMU as unless told otherwise; nil where it cannot choose
}

// accelerated are libvirt's words for what executes the guest's instructions.
var accelerated = map[machine.Accel]string{machine.KVM: "kvm", machine.TCG: "qemu"}

func parseCapabilities(text string, accel machine.Accel) (c capabilities, err error) {
	var caps xmldef.Caps
	if err := xml.Unmarshal([]byte(text), &caps); err != nil {
		return c, fmt.Errorf("capabilities: %w", err)
	}
	for _, m := range caps.Host.SecModel {
		c.models = append(c.models, m.Name)
		for _, label := range m.Labels {
			if m.Name != "dac" || label.Type != accelerated[accel] {
				continue
			}
			c.user = &vm.Owner{}
			if _, err := fmt.Sscanf(label.Value, "+%d:+%d", &c.user.UID, &c.user.GID); err != nil {
				return c, fmt.Errorf("capabilities: the user of QEMU is %q: %w", label.Value, err)
			}
		}
	}
	for _, g := range caps.Guests {
		if g.OSType == "hvm" && g.Arch.Name == arch {
			c.machine = q35(g.Arch, accelerated[accel])
		}
	}
	if c.machine == "" {
		return c, fmt.Errorf("libvirtd offers no machine q35 of type %s: install qemu-system-x86, see that its user may open /dev/kvm, "+
			"and restart libvirtd", accelerated[accel])
	}
	return c, nil
}

// q35 is the full name of the newest machine of that kind, "" if there is none.
func q35(a xmldef.CapsGuestArch, domain string) string {
	for _, d := range a.Domains {
		if d.Type != domain {
			continue
		}
		machines := a.Machines
		if len(d.Machines) > 0 {
			machines = d.Machines
		}
		for _, m := range machines {
			if m.Name == "q35" {
				return cmp.Or(m.Canonical, m.Name)
			}
		}
	}
	return ""
}

// runsAs is the user of the lab's QEMUs. Root leaves it to libvirt, whose own user may do least. Anybody else must be
// that user: they may neither give files away nor look into the memory of somebody else's process.
func (c capabilities) runsAs(uid, gid int) vm.Owner {
	if uid == 0 && c.user != nil {
		return *c.user
	}
	return vm.Owner{UID: uid, GID: gid}
}

// userName is who asks.
func userName() string {
	u, err := user.Current()
	if err != nil {
		return strconv.Itoa(os.Getuid())
	}
	return u.Username
}

// nameOf is a user for people to read.
func nameOf(o vm.Owner) string {
	u, err := user.LookupId(strconv.Itoa(o.UID))
	if err != nil {
		return "user " + strconv.Itoa(o.UID)
	}
	return strings.TrimSpace(u.Username)
}
