package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// sshServer runs commands of one connection with the shell of this computer, as a guest would.
func sshServer(t *testing.T, conn net.Conn) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Error(err)
		return
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Error(err)
		return
	}
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(signer)
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		t.Error(err)
		return
	}
	go ssh.DiscardRequests(requests)
	for c := range channels {
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		for r := range requests {
			if r.Type != "exec" {
				_ = r.Reply(false, nil)
				continue
			}
			var command struct{ Text string }
			_ = r.Reply(ssh.Unmarshal(r.Payload, &command) == nil, nil)
			cmd := exec.Command("sh", "-c", command.Text)
			cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
			in, err := cmd.StdinPipe() // with cmd.Stdin, Run would wait for the client to close it
			if err != nil {
				t.Error(err)
				return
			}
			go func() {
				_, _ = io.Copy(in, channel)
				in.Close()
			}()
			_ = cmd.Run()
			status := struct{ Status uint32 }{uint32(cmd.ProcessState.ExitCode())}
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(status))
			channel.Close()
		}
	}
}

// connect opens a session with a server of its own.
func connect(t *testing.T) *ssh.Session {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if conn, err := listener.Accept(); err == nil {
			sshServer(t, conn)
		}
	}()
	config := &ssh.ClientConfig{User: "root", HostKeyCallback: ssh.InsecureIgnoreHostKey()}
	client, err := ssh.Dial("tcp", listener.Addr().String(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); listener.Close() })
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	return session
}

func TestShellScript(t *testing.T) {
	for script, want := range map[string]struct {
		out, err string
		code     int
	}{
		"echo a; echo b >&2":              {"a\n", "b\n", held},
		"read line; echo $line\nthe rest": {"the rest\n", "", held},
		"echo a\nexit 4\necho b":          {"a\n", "", trouble},
	} {
		var out, stderr bytes.Buffer
		a := &app{in: strings.NewReader(script), out: &out, err: &stderr}
		err := a.converse(connect(t))
		if status(err) != want.code || out.String() != want.out || stderr.String() != want.err {
			t.Errorf("%q: status %d (%v), stdout %q, stderr %q", script, status(err), err, out.String(), stderr.String())
		}
	}
}

// A shell that exits ends the conversation, whoever still holds the other end of stdin.
func TestShellExits(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	go func() { _, _ = io.WriteString(w, "echo a\nexit\n") }()
	var out bytes.Buffer
	if err := (&app{in: r, out: &out, err: io.Discard}).converse(connect(t)); err != nil || out.String() != "a\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// Only a real terminal gets a terminal in the guest.
func TestTerminal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for _, stream := range []any{r, &bytes.Buffer{}, io.Discard, nil} {
		if _, ok := terminal(stream); ok {
			t.Errorf("%T is taken for a terminal", stream)
		}
	}
}
