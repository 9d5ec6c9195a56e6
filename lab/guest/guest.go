// Package guest is the system inside a machine: what can be reached through ssh and sftp, the zpool and zfs commands,
// the workloads, and the oracle that knows what was written. It knows no fault and no driver, and it only ever asks:
// whether a machine has panicked is read from its console, because after a panic commands may hang for ever.
package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/vdevil/vdevil/lab/machine"
)

// Guest is a connection to a running guest, as root. All methods are safe for concurrent use. Forks do not inherit a
// connection: connect to each of them.
type Guest struct {
	machine machine.Machine
	line    *line // in place of a connection, where the guest listens on one
	client  *ssh.Client
	gone    chan struct{} // closed when the connection has ended

	sftpOnce  sync.Once
	sftpReady chan struct{} // closed when sftp or sftpErr is set
	sftp      *sftp.Client
	sftpErr   error
}

func newGuest(m machine.Machine, client *ssh.Client) *Guest {
	g := &Guest{machine: m, client: client, gone: make(chan struct{}), sftpReady: make(chan struct{})}
	go func() {
		_ = client.Wait() // how it ended is told by what was running over it
		close(g.gone)
	}()
	// A driver may forward a port through a process that outlives the machine: the connection ends with the machine.
	go func() {
		select {
		case <-m.Done():
			_ = client.Close() // it is of no use any more
		case <-g.gone:
		}
	}()
	return g
}

// Close drops the connection at once, also when the guest is dead. Commands that still run see their session end.
func (g *Guest) Close() error {
	if g.line != nil {
		return nil
	}
	if err := g.client.Close(); err != nil && !isClosed(err) {
		return fmt.Errorf("close connection to guest: %w", err)
	}
	return nil
}

// consoleTail is how much of the console an error carries, in bytes: a stack trace and what led to it.
const consoleTail = 4096

// evidence adds to an error what the guest said last. It is for trouble with the connection, not for a command that
// ended by itself.
func evidence(m machine.Machine, op string, err error) error {
	select {
	case <-m.Done():
		if !errors.Is(err, machine.ErrDied) {
			err = fmt.Errorf("%w: %w", machine.ErrDied, err)
		}
		// It takes a daemon a moment to say how, no matter how long the caller would wait.
		if died := m.Wait(context.Background()); died != nil {
			err = fmt.Errorf("%w; %w", err, died)
		}
	default:
	}
	return &machine.Error{Op: op, Err: err, Console: m.Console().Tail(consoleTail)}
}

// await runs do in a goroutine, because the ssh and sftp packages know no contexts and a frozen guest blocks them. When
// ctx ends first, await returns its error and drop is called with the late result, if there is one.
func await[T any](ctx context.Context, do func() (T, error), drop func(T)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := do()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		if drop != nil {
			go func() {
				if r := <-done; r.err == nil {
					drop(r.value)
				}
			}()
		}
		var none T
		return none, context.Cause(ctx)
	}
}

// Keys are the files that let the lab into a guest, and the guest be told from any other.
type Keys struct {
	// Login is root's private key in OpenSSH format.
	Login string
	// Host is the guest's host key, known before it boots: the private key in OpenSSH format or the line of the public
	// one.
	Host string
}

func (k Keys) load() (login ssh.Signer, host ssh.PublicKey, err error) {
	text, err := os.ReadFile(k.Login)
	if err != nil {
		return nil, nil, fmt.Errorf("read login key: %w", err)
	}
	if login, err = ssh.ParsePrivateKey(text); err != nil {
		return nil, nil, fmt.Errorf("read login key %s: %w", k.Login, err)
	}
	if text, err = os.ReadFile(k.Host); err != nil {
		return nil, nil, fmt.Errorf("read host key: %w", err)
	}
	if private, err := ssh.ParsePrivateKey(text); err == nil {
		return login, private.PublicKey(), nil
	}
	if host, _, _, _, err = ssh.ParseAuthorizedKey(text); err != nil {
		return nil, nil, fmt.Errorf("read host key %s: neither a private nor a public key: %w", k.Host, err)
	}
	return login, host, nil
}
