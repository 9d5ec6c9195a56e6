package guest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/vdevil/vdevil/lab/machine"
)

// fakeMachine is as much of a machine as this package uses: a port, a console and an end.
type fakeMachine struct {
	machine.Machine
	console *machine.Console
	done    chan struct{}

	mu    sync.Mutex
	dials int
	// dial makes the n-th connection, from 1.
	dial func(ctx context.Context, n int) (net.Conn, error)
}

func (m *fakeMachine) ID() string                { return "fake" }
func (m *fakeMachine) Console() *machine.Console { return m.console }
func (m *fakeMachine) Done() <-chan struct{}     { return m.done }

func (m *fakeMachine) Dial(ctx context.Context, port int) (net.Conn, error) {
	if port != 22 {
		return nil, errors.New("not the port of ssh")
	}
	m.mu.Lock()
	m.dials++
	n := m.dials
	m.mu.Unlock()
	return m.dial(ctx, n)
}

// server answers ssh as sshd does for root: each command runs in a shell that leads a session of its own, and goes on
// when its channel is closed. Commands run on this host.
type server struct {
	t      *testing.T
	addr   string
	config *ssh.ServerConfig
	keys   Keys
	// path is put before PATH.
	path string

	mu     sync.Mutex
	groups []int // process groups, for the end of the test
}

// newKey makes a key pair, the private one in a file.
func newKey(t *testing.T, path string) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func newServer(t *testing.T) *server {
	t.Helper()
	dir := t.TempDir()
	s := &server{t: t, keys: Keys{Login: filepath.Join(dir, "login"), Host: filepath.Join(dir, "host")}}
	login := newKey(t, s.keys.Login).PublicKey()
	s.config = &ssh.ServerConfig{
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if string(key.Marshal()) != string(login.Marshal()) {
				return nil, errors.New("unknown key")
			}
			return nil, nil
		},
	}
	s.config.AddHostKey(newKey(t, s.keys.Host))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	s.addr = listener.Addr().String()
	t.Cleanup(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, group := range s.groups {
			_ = syscall.Kill(-group, syscall.SIGKILL)
		}
	})
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
			go s.serve(conn)
		}
	}()
	return s
}

func (s *server) serve(conn net.Conn) {
	c, channels, requests, err := ssh.NewServerConn(conn, s.config)
	if err != nil {
		conn.Close()
		return
	}
	defer c.Close()
	go ssh.DiscardRequests(requests)
	for offered := range channels {
		channel, requests, err := offered.Accept()
		if err != nil {
			return
		}
		go s.session(channel, requests)
	}
}

func (s *server) session(channel ssh.Channel, requests <-chan *ssh.Request) {
	for r := range requests {
		var text struct{ Value string }
		_ = ssh.Unmarshal(r.Payload, &text)
		_ = r.Reply(r.Type == "exec" || r.Type == "subsystem", nil)
		switch r.Type {
		case "exec":
			go s.command(channel, text.Value)
		case "subsystem":
			go func() {
				defer channel.Close()
				if files, err := sftp.NewServer(channel); err == nil {
					_ = files.Serve()
				}
			}()
		}
	}
}

func (s *server) command(channel ssh.Channel, line string) {
	defer channel.Close()
	c := exec.Command("bash", "-c", line)
	c.Env = append(os.Environ(), "PATH="+s.path+":"+os.Getenv("PATH"))
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	c.Stdout, c.Stderr = channel, channel.Stderr()
	stdin, err := c.StdinPipe()
	if err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(stdin, channel)
		stdin.Close()
	}()
	if err := c.Start(); err != nil {
		return
	}
	s.mu.Lock()
	s.groups = append(s.groups, c.Process.Pid)
	s.mu.Unlock()
	_ = c.Wait()
	status := c.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		_, _ = channel.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Signal  string
			Core    bool
			Message string
			Lang    string
		}{Signal: "KILL"}))
		return
	}
	_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status.ExitStatus())}))
}

// machine is a machine that this server is the guest of.
func (s *server) machine() *fakeMachine {
	s.t.Helper()
	console, err := machine.NewConsole(filepath.Join(s.t.TempDir(), "console"), []byte("[    0.0] Linux\n"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { console.Close() })
	m := &fakeMachine{console: console, done: make(chan struct{})}
	m.dial = func(ctx context.Context, _ int) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", s.addr)
	}
	return m
}

// connect gives a guest, closed when the test ends.
func connect(t *testing.T, s *server, m *fakeMachine) *Guest {
	t.Helper()
	g, err := Connect(t.Context(), m, s.keys)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}
