package libvirt

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"

	rpc "github.com/digitalocean/go-libvirt"
	"golang.org/x/sys/unix"

	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/qmp"
	"github.com/vdevil/vdevil/lab/machine/vm"
)

// process is the QEMU of a domain.
type process struct {
	*launcher
	domain rpc.Domain
	pid    int
	pidfd  *os.File // holds the PID, so that no other process can get it
	memory *os.File
	closed error // why there is no memory
	argv   []string
	logs   string            // the file with libvirt's log of the domain
	dir    string            // the machine's, for the record of the process
	pulled map[string]string // data disks that the guest does not have, as libvirt describes them

	killed atomic.Bool   // by us: its end needs no reason
	ended  chan struct{} // closed after QEMU has ended
	clean  chan struct{} // closed after libvirt has cleaned up behind it
	err    error         // how it ended; valid after clean
}

// Launch creates a domain.
func (l *launcher) Launch(ctx context.Context, s *vm.Spec, console io.Writer) (_ vm.Process, err error) {
	f, err := l.reachable(s)
	if err != nil {
		return nil, err
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "unix", s.Socket("console"))
	if err != nil {
		return nil, err
	}
	defer listener.Close() //nolint:errcheck // one connection is all
	if l.user.UID != os.Getuid() {
		if err := os.Chown(s.Socket("console"), l.user.UID, l.user.GID); err != nil {
			return nil, err
		}
	}
	var id rpc.UUID
	_, _ = rand.Read(id[:]) // never fails
	text, err := l.domain(s, hex.EncodeToString(id[:]), f)
	if err != nil {
		return nil, err
	}
	if err := record(s.Dir, uriFile, l.conn.uri.String()); err != nil {
		return nil, err
	}
	p := &process{
		launcher: l, logs: l.logFile(s.Name()), dir: s.Dir, pulled: map[string]string{},
		ended: make(chan struct{}), clean: make(chan struct{}),
	}
	end := l.conn.end(id)
	if p.domain, err = l.create(ctx, s, text); err != nil {
		l.conn.forget(id)
		defer removeLog(p.logs)
		err = errors.Join(err, p.reap(listener))
		return nil, &machine.Error{Op: "create domain " + s.Name(), Err: l.remedy(s, err), Log: p.Log()}
	}
	connection, err := listener.Accept() // QEMU connected before libvirt could speak with it
	if err == nil {
		err = p.identify(connection.(*net.UnixConn))
	}
	if err != nil {
		p.release()
		return nil, errors.Join(err, l.destroy(p.domain))
	}
	l.start(p, func() { p.follow(connection, console, end) })
	if err := ctx.Err(); err != nil {
		p.Kill()
		return nil, err
	}
	return p, nil
}

// release closes what identify opened, in a process that is not handed out.
func (p *process) release() {
	for _, f := range []*os.File{p.pidfd, p.memory} {
		if f != nil {
			f.Close()
		}
	}
}

// reap ends the QEMU that a libvirtd had started before it failed, or died. One that has not connected yet ends by itself:
// nobody listens to it any more.
func (p *process) reap(listener net.Listener) error {
	raw, err := listener.(*net.UnixListener).SyscallConn()
	if err != nil {
		return err
	}
	var fd int
	var none error // Go's listeners do not block by themselves: EAGAIN is that nobody has connected
	if err := raw.Control(func(l uintptr) { fd, _, none = unix.Accept4(int(l), unix.SOCK_CLOEXEC) }); err != nil || none != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "console")
	connection, err := net.FileConn(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	defer connection.Close()
	defer p.release()
	if err := p.identify(connection.(*net.UnixConn)); errors.Is(err, machine.ErrDied) {
		return nil
	} else if err != nil {
		return err
	}
	_ = unix.PidfdSendSignal(int(p.pidfd.Fd()), unix.SIGKILL, nil, 0) // an error means that it is dead already
	return nil
}

// create waits for libvirt, be ctx as it may: nobody could tell otherwise whether there is a domain. It takes part of a
// second.
func (l *launcher) create(ctx context.Context, s *vm.Spec, text string) (d rpc.Domain, err error) {
	if err := ctx.Err(); err != nil {
		return d, err
	}
	var flags rpc.DomainCreateFlags
	if s.Incoming {
		flags = rpc.DomainStartPaused
	}
	err = l.conn.call(context.WithoutCancel(ctx), func(lib *rpc.Libvirt) (err error) {
		d, err = lib.DomainCreateXML(text, flags)
		return err
	})
	return d, err
}

func (l *launcher) destroy(d rpc.Domain) error {
	return l.conn.call(context.Background(), func(lib *rpc.Libvirt) error { return lib.DomainDestroy(d) })
}

// remedy says what to do about a domain that could not be created.
func (l *launcher) remedy(s *vm.Spec, err error) error {
	var said rpc.Error
	if !errors.As(err, &said) {
		return err
	}
	switch {
	case strings.Contains(said.Message, "already exists"):
		return fmt.Errorf("%w: the name is taken by a domain that this lab has not made: virsh -c %s destroy %s, if nobody wants it; "+
			"vdevil gc destroys those of killed labs", err, l.conn.uri, s.Name())
	case strings.Contains(said.Message, "Permission denied"):
		return fmt.Errorf("%w: libvirt runs QEMU as %s, who must be able to read what is in %s and, where AppArmor or SELinux confine "+
			"it, be allowed to: see journalctl -g apparmor", err, nameOf(l.user), s.Dir)
	}
	return err
}

// identify asks the kernel who connected.
func (p *process) identify(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) { peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	if peer.Pid == 0 {
		return fmt.Errorf("QEMU of domain %s runs in a PID namespace that this process cannot see: run the lab on the same side as libvirtd", p.domain.Name)
	}
	p.pid = int(peer.Pid)
	fd, err := unix.PidfdOpen(p.pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return p.died()
	}
	if err != nil {
		return fmt.Errorf("QEMU of domain %s: %w", p.domain.Name, err)
	}
	p.pidfd = os.NewFile(uintptr(fd), "pidfd")
	command, unread := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid))
	p.argv = strings.Split(strings.TrimSuffix(string(command), "\x00"), "\x00")
	q, unknown := host.ProcessOf(p.pid)
	p.memory, p.closed = vm.OpenMemory(p.pid)
	if err := p.lives(raw); err != nil { // before the others, which may say no more than that it has gone
		return err
	}
	if err := errors.Join(unread, unknown); err != nil {
		return err
	}
	return record(p.dir, processFile, q.String())
}

// lives checks that the process that connected runs yet, so that all that was found out by its number is about it. Both the
// connection and the descriptor of the process tell of an end.
func (p *process) lives(connection syscall.RawConn) error {
	var ready int
	var failed error
	err := connection.Control(func(fd uintptr) {
		ready, failed = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}, {Fd: int32(p.pidfd.Fd()), Events: unix.POLLIN}}, 0)
	})
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	if ready > 0 {
		return p.died()
	}
	return nil
}

func (p *process) died() error {
	return fmt.Errorf("%w: QEMU of domain %s ended as soon as it had started", machine.ErrDied, p.domain.Name)
}

// follow copies the console until QEMU ends, and finds out how that was.
func (p *process) follow(connection net.Conn, console io.Writer, end <-chan rpc.DomainEventStoppedDetailType) {
	_, err := io.Copy(console, connection)
	connection.Close()
	for { // the end of a console is nearly the end of its process
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(p.pidfd.Fd()), Events: unix.POLLIN}}, -1)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	close(p.ended)
	detail, seen := <-end // which libvirt tells when it has cleaned up, up to two seconds later
	p.err = errors.Join(err, how(detail, seen))
	close(p.clean)
}

// how is the error of an end. A guest that switches itself off, or that panics, ends its QEMU in good order.
func how(detail rpc.DomainEventStoppedDetailType, seen bool) error {
	switch {
	case !seen:
		return errors.New("ended while libvirtd was away")
	case detail == rpc.DomainEventStoppedShutdown, detail == rpc.DomainEventStoppedCrashed:
		return nil
	case detail == rpc.DomainEventStoppedDestroyed:
		return errors.New("was destroyed by somebody")
	}
	return errors.New("ended without notice, killed perhaps")
}

// Execute runs a monitor command through libvirt.
func (p *process) Execute(ctx context.Context, command string, args, result any) error {
	request, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
	}{command, args})
	if err != nil {
		return fmt.Errorf("%s: encoding the arguments: %w", command, err)
	}
	var text string
	err = p.conn.call(ctx, func(lib *rpc.Libvirt) (err error) {
		text, err = lib.QEMUDomainMonitorCommand(p.domain, string(request), 0)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	var answer struct {
		Return json.RawMessage
		Error  *qmp.Error
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return fmt.Errorf("%s: decoding the answer: %w", command, err)
	}
	if answer.Error != nil {
		return fmt.Errorf("%s: %w", command, answer.Error)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(answer.Return, result); err != nil {
		return fmt.Errorf("%s: decoding the answer: %w", command, err)
	}
	return nil
}

// Describe gives the domain a title: virsh list --title shows it.
func (p *process) Describe(ctx context.Context, text string) error {
	err := p.conn.call(ctx, func(lib *rpc.Libvirt) error {
		return lib.DomainSetMetadata(p.domain, int32(rpc.DomainMetadataTitle), rpc.OptString{text}, nil, nil, rpc.DomainAffectLive)
	})
	if err != nil {
		return fmt.Errorf("title of domain %s: %w", p.domain.Name, err)
	}
	return nil
}

// PID is that of QEMU.
func (p *process) PID() int { return p.pid }

// Memory was opened when QEMU connected.
func (p *process) Memory() (*os.File, error) { return p.memory, p.closed }

// Command is QEMU's command line, as libvirt has made it.
func (p *process) Command() []string { return p.argv }

// Kill ends QEMU by its PID: libvirt would ask it first, and look five times a second whether it has gone. libvirt sees
// the monitor hang up and cleans up.
func (p *process) Kill() {
	p.killed.Store(true)
	_ = unix.PidfdSendSignal(int(p.pidfd.Fd()), unix.SIGKILL, nil, 0) // an error means that it is dead already
	<-p.ended
	p.pidfd.Close()
}

// Discard removes the files after libvirt has cleaned up: it looks at each disk once more, and complains in its log about
// one that is not there.
func (p *process) Discard(remove func() error) error {
	all := func() error {
		removeLog(p.logs)
		return remove()
	}
	select {
	case <-p.clean:
		return all()
	default:
		p.later(p.clean, all)
		return nil
	}
}

// Ended is closed when QEMU is gone.
func (p *process) Ended() <-chan struct{} { return p.ended }

// Wait waits until libvirt has told how QEMU ended, unless that is known.
func (p *process) Wait() error {
	<-p.ended
	if p.killed.Load() {
		return nil
	}
	<-p.clean
	return p.err
}

// logged is how much of the log of a domain is worth showing, in bytes.
const logged = 2048

// Log is the end of what libvirt logged of the domain. Only root can read the system's.
func (p *process) Log() []byte {
	log, err := os.ReadFile(p.logs)
	if err != nil {
		return nil
	}
	return bytes.TrimSpace(log[max(0, len(log)-logged):])
}

func (l *launcher) logFile(name string) string {
	if !l.conn.uri.Session() {
		return filepath.Join("/var/log/libvirt/qemu", name+".log")
	}
	cache, _ := os.UserCacheDir() // without a home there is no session
	return filepath.Join(cache, "libvirt/qemu/log", name+".log")
}

// What gc has to know of a machine whose lab is gone, in files of the machine's directory.
const (
	uriFile     = "libvirt" // the URI of its libvirtd
	processFile = "process" // its QEMU
)

func record(dir, name, text string) error {
	return host.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o600)
}
