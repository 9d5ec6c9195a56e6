package guest

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/vdevil/vdevil/lab/guest/guesttest"
	"github.com/vdevil/vdevil/lab/machine"
)

func TestConnectWithPublicHostKey(t *testing.T) {
	s := newServer(t)
	text, err := os.ReadFile(s.keys.Host)
	if err != nil {
		t.Fatal(err)
	}
	private, err := ssh.ParsePrivateKey(text)
	if err != nil {
		t.Fatal(err)
	}
	s.keys.Host += ".pub"
	if err := os.WriteFile(s.keys.Host, ssh.MarshalAuthorizedKey(private.PublicKey()), 0o644); err != nil {
		t.Fatal(err)
	}
	g := connect(t, s, s.machine())
	if _, err := g.Run(t.Context(), "true"); err != nil {
		t.Fatal(err)
	}
}

func TestConnectRefusesWrongKeys(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*Keys)
		want  error
	}{
		"host":  {func(k *Keys) { k.Host += ".other" }, ErrHostKey},
		"login": {func(k *Keys) { k.Login = k.Host + ".other" }, ErrLogin},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			m := s.machine()
			keys := s.keys
			guesttest.NewKey(t, keys.Host+".other")
			c.spoil(&keys)
			_, err := Connect(t.Context(), m, keys)
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if m.Dials() != 1 {
				t.Errorf("dialled %d times for what no retry can mend", m.Dials())
			}
		})
	}
}

func TestConnectWithoutKeys(t *testing.T) {
	s := newServer(t)
	_, err := Connect(t.Context(), s.machine(), Keys{Login: filepath.Join(t.TempDir(), "none"), Host: s.keys.Host})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing login key: %v", err)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Connect(t.Context(), s.machine(), Keys{Login: s.keys.Login, Host: empty}); err == nil {
		t.Error("an empty host key was taken")
	}
}

// silence is what QEMU's user network offers while the guest has no network: a connection on which nothing happens.
func silence(t *testing.T) net.Conn {
	near, far := net.Pipe()
	t.Cleanup(func() { far.Close() })
	go func() {
		buf := make([]byte, 256)
		for {
			if _, err := far.Read(buf); err != nil {
				return
			}
		}
	}()
	return near
}

func TestConnectRetries(t *testing.T) {
	for name, failing := range map[string]func(t *testing.T) (net.Conn, error){
		"dial fails": func(*testing.T) (net.Conn, error) { return nil, errors.New("refused") },
		"dropped at once": func(*testing.T) (net.Conn, error) {
			near, far := net.Pipe()
			far.Close()
			return near, nil
		},
		"silent": func(t *testing.T) (net.Conn, error) { return silence(t), nil },
		"dropped after the version": func(*testing.T) (net.Conn, error) {
			near, far := net.Pipe()
			go func() {
				_, _ = far.Read(make([]byte, 256))
				_, _ = far.Write([]byte("SSH-2.0-OpenSSH_9.2\r\n"))
				far.Close()
			}()
			return near, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			m := s.machine()
			working := m.OnDial
			m.OnDial = func(ctx context.Context, n int) (net.Conn, error) {
				if n <= 2 {
					return failing(t)
				}
				return working(ctx, n)
			}
			g := connect(t, s, m)
			if _, err := g.Run(t.Context(), "true"); err != nil {
				t.Error(err)
			}
		})
	}
}

// countedConn tells when it is closed.
type countedConn struct {
	net.Conn
	closed chan struct{}
}

func (c countedConn) Close() error {
	select {
	case c.closed <- struct{}{}:
	default:
	}
	return c.Conn.Close()
}

func TestConnectErrorShowsConsole(t *testing.T) {
	s := newServer(t)
	m := s.machine()
	m.Print("Kernel panic - not syncing: no init found\n")
	closed := make(chan struct{}, 1)
	m.OnDial = func(context.Context, int) (net.Conn, error) { return countedConn{silence(t), closed}, nil }
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := Connect(ctx, m, s.keys)
	var withConsole *machine.Error
	if !errors.As(err, &withConsole) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	if !strings.Contains(err.Error(), "no init found") {
		t.Errorf("no console in %v", err)
	}
	<-closed // the attempt under way does not outlive the call
}

func TestConnectEndsWithTheMachine(t *testing.T) {
	s := newServer(t)
	m := s.machine()
	m.OnDial = func(_ context.Context, n int) (net.Conn, error) {
		if n == 3 {
			m.Die("was killed")
		}
		return nil, errors.New("connection refused")
	}
	_, err := Connect(t.Context(), m, s.keys)
	if !errors.Is(err, machine.ErrDied) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("got %v", err)
	}
}
