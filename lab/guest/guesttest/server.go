// Package guesttest is a guest without a machine: a server that lets the lab in and runs its commands on this computer,
// with programs that the test writes in place of a guest's. Package scripttest has the machine to it.
package guesttest

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
)

// Server answers ssh as sshd does for root: each command runs in a shell that leads a session of its own, and goes on
// when its channel is closed. Commands run on this computer.
type Server struct {
	// Login and Host are the files of the keys, as guest.Keys names them.
	Login, Host string

	t      testing.TB
	addr   string
	config *ssh.ServerConfig
	path   string // put before PATH

	mu     sync.Mutex
	groups []int // process groups, for the end of the test
}

// NewKey makes a key pair, the private one in a file.
func NewKey(t testing.TB, path string) ssh.Signer {
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

// New starts a server that ends with the test.
func New(t testing.TB) *Server {
	t.Helper()
	dir := t.TempDir()
	s := &Server{t: t, Login: filepath.Join(dir, "login"), Host: filepath.Join(dir, "host"), path: filepath.Join(dir, "bin")}
	login := NewKey(t, s.Login).PublicKey()
	s.config = &ssh.ServerConfig{
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if string(key.Marshal()) != string(login.Marshal()) {
				return nil, errors.New("unknown key")
			}
			return nil, nil
		},
	}
	s.config.AddHostKey(NewKey(t, s.Host))
	if err := os.Mkdir(s.path, 0o755); err != nil {
		t.Fatal(err)
	}
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
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

func (s *Server) serve(conn net.Conn) {
	c, channels, requests, err := ssh.NewServerConn(conn, s.config)
	if err != nil {
		conn.Close()
		return
	}
	defer c.Close() //nolint:errcheck // the other side may have closed it
	go ssh.DiscardRequests(requests)
	for offered := range channels {
		channel, requests, err := offered.Accept()
		if err != nil {
			return
		}
		go s.session(channel, requests)
	}
}

func (s *Server) session(channel ssh.Channel, requests <-chan *ssh.Request) {
	for r := range requests {
		var text struct{ Value string }
		_ = ssh.Unmarshal(r.Payload, &text)
		_ = r.Reply(r.Type == "exec" || r.Type == "subsystem", nil)
		switch r.Type {
		case "exec":
			go s.command(channel, text.Value)
		case "subsystem":
			go func() {
				defer channel.Close() //nolint:errcheck // the other side may have closed it
				if files, err := sftp.NewServer(channel); err == nil {
					_ = files.Serve()
				}
			}()
		}
	}
}

func (s *Server) command(channel ssh.Channel, line string) {
	defer channel.Close()                 //nolint:errcheck // the other side may have closed it
	c := exec.Command("bash", "-c", line) //nolint:noctx // it goes on when its channel is closed, as in a guest
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

// Dial connects to the server: what a machine does whose guest this is.
func (s *Server) Dial(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", s.addr)
}

// Program puts a script of bash into the guest, under a name by which its commands find it.
func (s *Server) Program(name, script string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.path, name), []byte("#!/bin/bash\n"+script), 0o755); err != nil {
		s.t.Fatal(err)
	}
}
