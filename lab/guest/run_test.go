package guest

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/oracle"
)

func TestRun(t *testing.T) {
	s := newServer(t)
	g := connect(t, s, s.machine())
	for name, c := range map[string]struct {
		command        string
		stdout, stderr string
		status         int
		err            string
	}{
		"both outputs": {"echo out; echo err >&2", "out\n", "err\n", 0, ""},
		"silent":       {"true", "", "", 0, ""},
		"no newline":   {"printf x; printf y >&2", "x", "y", 0, ""},
		"status":       {"echo why >&2; exit 7", "", "why\n", 7, "echo why >&2; exit 7: exit status 7: why"},
		"signal":       {"kill -KILL $$", "", "", -1, "kill -KILL $$: killed by SIGKILL"},
		"no input":     {"cat; echo end", "end\n", "", 0, ""},
		"its own mark": {"echo vdevil-session:1 >&2", "", "vdevil-session:1\n", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := g.Run(t.Context(), c.command)
			if string(o.Stdout) != c.stdout || string(o.Stderr) != c.stderr || o.Status != c.status {
				t.Errorf("got %q %q %d", o.Stdout, o.Stderr, o.Status)
			}
			var exit *ExitError
			switch {
			case c.err == "" && err != nil:
				t.Error(err)
			case c.err != "" && (!errors.As(err, &exit) || err.Error() != c.err):
				t.Errorf("got %v, want %s", err, c.err)
			}
		})
	}
}

func TestExitErrorIsShort(t *testing.T) {
	s := newServer(t)
	g := connect(t, s, s.machine())
	_, err := g.Run(t.Context(), "for i in $(seq 9999); do echo $i >&2; done\nexit 1 # "+strings.Repeat("x", 1000))
	if text := err.Error(); len(text) > stderrTail+200 || !strings.HasSuffix(text, "9999") || strings.Contains(text, "xxx") {
		t.Errorf("got %d bytes: %s", len(text), text)
	}
}

func TestRunsAtOnce(t *testing.T) {
	s := newServer(t)
	g := connect(t, s, s.machine())
	fifo := filepath.Join(t.TempDir(), "fifo")
	var group sync.WaitGroup
	// Each end of a fifo waits for the other: one run after the other would never finish.
	for _, command := range []string{"mkfifo %; cat %", "until test -p %; do :; done; echo met >%"} {
		group.Go(func() {
			if _, err := g.Run(t.Context(), strings.ReplaceAll(command, "%", fifo)); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

func TestContextEndsCommand(t *testing.T) {
	s := newServer(t)
	g := connect(t, s, s.machine())
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		// Each process holds the write end of a fifo open.
		_, err := g.Run(ctx, "cd "+dir+"; mkfifo f; exec 9>f; sleep 3600 & sleep 3600")
		done <- err
	}()
	// The reader sees the fifo's end when no process is left that holds it.
	reader, err := openFIFO(t, filepath.Join(dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := reader.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("processes live on: %v", err)
	}
}

// openFIFO waits for the fifo to be made and for a writer.
func openFIFO(t *testing.T, path string) (*os.File, error) {
	t.Helper()
	for {
		f, err := os.Open(path)
		if err == nil {
			t.Cleanup(func() { f.Close() })
			return f, nil
		}
		if !errors.Is(err, os.ErrNotExist) || t.Context().Err() != nil {
			return nil, err
		}
	}
}

func TestEndedCommandLeavesItsOutput(t *testing.T) {
	s := newServer(t)
	g := connect(t, s, s.machine())
	var o Output
	for limit := time.Millisecond; limit < 10*time.Second; limit *= 2 { // until it came so far
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		var err error
		o, err = g.Run(ctx, "echo out; echo err >&2; sleep 3600")
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		if len(o.Stdout) > 0 && len(o.Stderr) > 0 {
			break
		}
	}
	if string(o.Stdout) != "out\n" || string(o.Stderr) != "err\n" || o.Status != -1 {
		t.Errorf("got %q %q %d", o.Stdout, o.Stderr, o.Status)
	}
}

func TestRunScript(t *testing.T) {
	s := newServer(t)
	g := connect(t, s, s.machine())
	for name, c := range map[string]struct {
		script string
		args   []string
		stdout string
		status int
	}{
		"arguments":            {`printf '<%s>' "$@"`, []string{"a b", "", "it's", "$x", "-n", "a\nb"}, "<a b><><it's><$x><-n><a\nb>", 0},
		"no arguments":         {`echo $#`, nil, "0\n", 0},
		"stops at an error":    {"echo a\nfalse\necho b", nil, "a\n", 1},
		"stops at a pipe":      {"false | true\necho b", nil, "", 1},
		"stops at an unset":    {"echo $nothing\necho b", nil, "", 1},
		"input is not eaten":   {"cat\necho b", nil, "b\n", 0},
		"ends with a comment":  {"echo a # b", nil, "a\n", 0},
		"its status":           {"exit 9", nil, "", 9},
		"functions and traps":  {"f() { echo f; }\ntrap 'echo bye' EXIT\nf", nil, "f\nbye\n", 0},
		"half a script is not": {"echo a\nif true; then", nil, "", 2},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := g.RunScript(t.Context(), c.script, c.args...)
			if string(o.Stdout) != c.stdout || o.Status != c.status || (err == nil) != (c.status == 0) {
				t.Errorf("got %q %q %d %v", o.Stdout, o.Stderr, o.Status, err)
			}
		})
	}
}

func TestLostConnectionShowsConsole(t *testing.T) {
	s := newServer(t)
	m := s.machine()
	g := connect(t, s, m)
	fifo := filepath.Join(t.TempDir(), "fifo")
	done := make(chan error, 1)
	go func() {
		_, err := g.Run(t.Context(), "mkfifo "+fifo+"; cat "+fifo)
		done <- err
	}()
	if _, err := os.OpenFile(fifo, os.O_WRONLY, 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	m.Print("triple fault\n")
	m.End() // the connection ends with the machine, though the server does not
	err := <-done
	if !errors.Is(err, machine.ErrDied) || !strings.Contains(err.Error(), "triple fault") {
		t.Errorf("got %v", err)
	}
}

// frozenConn stops moving bytes when frozen is closed, as the connection to a paused machine does.
type frozenConn struct {
	net.Conn
	frozen, closed chan struct{}
	once           sync.Once
}

func (c *frozenConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	select {
	case <-c.frozen:
		<-c.closed
		return 0, net.ErrClosed
	default:
		return n, err
	}
}

func (c *frozenConn) Write(p []byte) (int, error) {
	select {
	case <-c.frozen:
		<-c.closed
		return 0, net.ErrClosed
	default:
		return c.Conn.Write(p)
	}
}

func (c *frozenConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func TestFrozenGuestBlocksNobody(t *testing.T) {
	s := newServer(t)
	m := s.machine()
	dial, frozen := m.OnDial, make(chan struct{})
	m.OnDial = func(ctx context.Context, n int) (net.Conn, error) {
		conn, err := dial(ctx, n)
		return &frozenConn{Conn: conn, frozen: frozen, closed: make(chan struct{})}, err
	}
	g := connect(t, s, m)
	close(frozen)
	for name, do := range map[string]func(ctx context.Context) error{
		"run":   func(ctx context.Context) error { _, err := g.Run(ctx, "true"); return err },
		"write": func(ctx context.Context) error { return g.WriteFile(ctx, "/x", nil) },
		"read":  func(ctx context.Context) error { _, err := g.ReadFile(ctx, "/x"); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if err := do(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
}

func TestFiles(t *testing.T) {
	s := newServer(t)
	g := connect(t, s, s.machine())
	path := filepath.Join(t.TempDir(), "a b'c")
	for _, size := range []int{300_000, 10, 0} { // a smaller file replaces a larger one whole
		data := oracle.Content(1, "file", size)
		if err := g.WriteFile(t.Context(), path, data); err != nil {
			t.Fatal(err)
		}
		got, err := g.ReadFile(t.Context(), path)
		if err != nil || string(got) != string(data) {
			t.Errorf("%d bytes became %d: %v", len(data), len(got), err)
		}
	}
	if _, err := g.ReadFile(t.Context(), path+".none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if err := g.WriteFile(t.Context(), path+"/none", nil); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("impossible file: %v", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.WriteFile(cancelled, path, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
