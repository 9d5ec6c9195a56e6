package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	rpc "github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket"
	"github.com/digitalocean/go-libvirt/socket/dialers"

	"github.com/vdevil/vdevil/lab/host"
)

// needed is the oldest libvirt whose domains are known to fork, which Debian 12 has.
const needed = 9_000_000

// release is a version of libvirt, or of a hypervisor by its word, as people write it.
func release(v uint64) string { return fmt.Sprintf("%d.%d.%d", v/1_000_000, v/1000%1000, v%1000) }

// ErrUnreachable is wrapped by the errors of a libvirtd that does not answer.
var ErrUnreachable = errors.New("libvirtd does not answer")

// UnreachableError says why, and what to do.
type UnreachableError struct {
	Err    error
	Remedy string
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("%v: %v; %s", ErrUnreachable, e.Err, e.Remedy)
}

// Is makes it an ErrUnreachable.
func (e *UnreachableError) Is(target error) bool { return target == ErrUnreachable }

func (e *UnreachableError) Unwrap() error { return e.Err }

// OldError says that libvirt is too old.
type OldError struct{ Version uint64 }

func (e *OldError) Error() string {
	return fmt.Sprintf("libvirt is %s: the lab needs %s or newer, which Debian 12 has; or use --driver qemu, which needs none",
		release(e.Version), release(needed))
}

func checkVersion(v uint64) error {
	if v < needed {
		return &OldError{v}
	}
	return nil
}

// conn is a connection to a libvirtd, made again when it was lost: libvirtd may be restarted while its guests run on.
type conn struct {
	uri URI

	mu     sync.Mutex
	closed bool
	lib    *rpc.Libvirt
	// ends has those who wait for the end of a domain. A channel gets the detail of libvirt's event, or is closed when
	// the connection is lost: the event may be lost with it.
	ends map[rpc.UUID]chan rpc.DomainEventStoppedDetailType
}

func newConn(uri URI) *conn {
	return &conn{uri: uri, ends: map[rpc.UUID]chan rpc.DomainEventStoppedDetailType{}}
}

// get is the connection, made now if there is none.
func (c *conn) get() (*rpc.Libvirt, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, errors.New("the driver is closed")
	case c.lib != nil && c.lib.IsConnected():
		return c.lib, nil
	}
	lib, err := dial(c.uri)
	if err != nil {
		return nil, err
	}
	version, err := lib.ConnectGetLibVersion()
	if err == nil {
		err = checkVersion(version)
	}
	var events <-chan rpc.DomainEventLifecycleMsg
	if err == nil {
		events, err = lib.LifecycleEvents(context.Background())
	}
	if err != nil {
		return nil, errors.Join(err, lib.Disconnect())
	}
	c.lib = lib
	go c.follow(lib, events)
	return lib, nil
}

// follow passes on which domains have ended, until the connection is lost.
func (c *conn) follow(lib *rpc.Libvirt, events <-chan rpc.DomainEventLifecycleMsg) {
	for e := range events {
		if rpc.DomainEventType(e.Event) != rpc.DomainEventStopped {
			continue
		}
		c.mu.Lock()
		if end, ok := c.ends[e.Dom.UUID]; ok {
			end <- rpc.DomainEventStoppedDetailType(e.Detail) // there is room for one, and a domain ends once
			delete(c.ends, e.Dom.UUID)
		}
		c.mu.Unlock()
	}
	<-lib.Disconnected()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, end := range c.ends {
		close(end)
	}
	clear(c.ends)
}

// end tells how a domain ends that is about to be started.
func (c *conn) end(id rpc.UUID) <-chan rpc.DomainEventStoppedDetailType {
	c.mu.Lock()
	defer c.mu.Unlock()
	end := make(chan rpc.DomainEventStoppedDetailType, 1)
	c.ends[id] = end
	return end
}

// forget drops a domain that did not start.
func (c *conn) forget(id rpc.UUID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.ends, id)
}

func (c *conn) close() error {
	c.mu.Lock()
	c.closed = true
	lib := c.lib
	c.mu.Unlock()
	if lib == nil || !lib.IsConnected() {
		return nil
	}
	return lib.Disconnect()
}

// call does something with libvirtd. What was begun when ctx ends goes on, and its result is dropped.
func (c *conn) call(ctx context.Context, do func(*rpc.Libvirt) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	lib, err := c.get()
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- do(lib) }()
	select {
	case err := <-done:
		return c.lost(err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lost says so when an error means that the connection is gone.
func (c *conn) lost(err error) error {
	var refused rpc.Error
	if err == nil || errors.As(err, &refused) {
		return err
	}
	if errors.Is(err, rpc.ErrInterrupted) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EINVAL) {
		return &UnreachableError{Err: fmt.Errorf("the connection to %s was lost: %w", c.uri, err), Remedy: starting(c.uri)}
	}
	return err
}

// dial connects and says what to do when that cannot be.
func dial(uri URI) (*rpc.Libvirt, error) {
	if uri.Remote() {
		lib, err := rpc.ConnectToURI(&uri.url)
		if err != nil {
			return nil, &UnreachableError{Err: fmt.Errorf("%s: %w", uri, err), Remedy: "try virsh --connect " + uri.String() + " list"}
		}
		return lib, nil
	}
	path, err := listening(uri)
	if err != nil {
		return nil, err
	}
	lib := rpc.NewWithDialer(local(path))
	if err := lib.ConnectToURI(rpc.RemoteURI(&uri.url)); err != nil {
		return nil, refused(uri, path, err)
	}
	return lib, nil
}

func local(path string) socket.Dialer { return dialers.NewLocal(dialers.WithSocket(path)) }

// listening finds the socket of a libvirtd.
func listening(uri URI) (string, error) {
	var err error
	for _, path := range uri.sockets() {
		if _, err = os.Stat(path); err == nil {
			return path, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", refused(uri, path, err)
		}
	}
	return "", refused(uri, uri.sockets()[0], err)
}

// denials are what libvirtd says to those who may not use it.
var denials = []rpc.ErrorNumber{rpc.ErrAuthFailed, rpc.ErrAuthCancelled, rpc.ErrAuthUnavailable, rpc.ErrAccessDenied}

// refused adds what to do.
func refused(uri URI, path string, err error) error {
	e := &UnreachableError{Err: err, Remedy: starting(uri)}
	var said rpc.Error
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Err = fmt.Errorf("there is no %s", path)
		if _, missing := host.Program("libvirtd"); missing != nil {
			e.Err, e.Remedy = errors.New("it is not installed"), "sudo apt-get install libvirt-daemon-system"
		}
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Err = fmt.Errorf("nobody listens at %s", path)
	case errors.Is(err, fs.ErrPermission), errors.As(err, &said) && slices.Contains(denials, rpc.ErrorNumber(said.Code)):
		e.Err = fmt.Errorf("%s refuses: %w", path, err)
		e.Remedy = fmt.Sprintf("sudo usermod -aG libvirt %s and log in again, or take your own with --connect %s", userName(), Session)
	case errors.As(err, &said) && said.Code == uint32(rpc.ErrRPC) && strings.Contains(said.Message, "authentication required"):
		e.Err = fmt.Errorf("%s wants SASL, which the lab does not speak", path)
		e.Remedy = "set auth_unix_rw in its libvirtd.conf to none or polkit, or take your own with --connect " + Session
	}
	return e
}

// starting says how a libvirtd is started.
func starting(uri URI) string {
	switch {
	case uri.Session() && os.Getuid() == 0:
		return "root has no session of its own: use --connect " + System
	case uri.Session():
		program, err := host.Program("libvirtd") // /usr/sbin is in root's PATH alone
		if err != nil {
			program = "libvirtd"
		}
		return fmt.Sprintf("start it: %s --daemon --timeout 120", program)
	}
	return "start it: sudo systemctl start libvirtd, or libvirtd --daemon as root where there is no systemd"
}
