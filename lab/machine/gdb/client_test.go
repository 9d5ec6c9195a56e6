package gdb

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/machine"
)

// stub is a peer with QEMU's manners that stands at one place and does what a test needs QEMU never does on demand.
type stub struct {
	t      *testing.T
	before string            // said when a client arrives
	answer map[string]string // packets as they go over the wire; others have answers of their own below
	lazy   int               // so many steps are reported done that were not

	ended chan struct{} // closed when the client has gone

	mu   sync.Mutex
	conn net.Conn
	seen []string
	raw  bytes.Buffer
	rip  byte // of the only CPU, which a step moves by one and everything else to 0x10
}

// dial serves a client from a stub.
func (s *stub) dial(o Options) (*Client, error) {
	s.t.Helper()
	dir, err := os.MkdirTemp("/tmp", "vd")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "gdb")
	l, err := net.Listen("unix", path)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { l.Close() })
	s.ended = make(chan struct{})
	go func() {
		defer close(s.ended)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conn = conn
		s.mu.Unlock()
		s.serve(conn)
	}()
	c, err := Dial(s.t.Context(), path, o)
	if err == nil {
		s.t.Cleanup(func() { c.Close() })
	}
	return c, err
}

func (s *stub) attach(o Options) *Client {
	s.t.Helper()
	c, err := s.dial(o)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *stub) serve(conn net.Conn) {
	defer conn.Close()
	io.WriteString(conn, s.before)
	r := bufio.NewReader(io.TeeReader(conn, &s.raw))
	for {
		command, err := decode(r)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.seen = append(s.seen, command)
		s.mu.Unlock()
		out, ok := s.answer[command]
		if !ok {
			out = packet(s.usual(command))
		}
		if out == "hang up" {
			return
		}
		io.WriteString(conn, "+"+out)
	}
}

// say sends a packet unasked.
func (s *stub) say(raw string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	io.WriteString(s.conn, packet(raw))
}

func (s *stub) usual(command string) string {
	switch {
	case command == "vCont;s:01":
		if s.lazy--; s.lazy < 0 {
			s.rip++
		}
		return "T05thread:01;"
	case strings.HasPrefix(command, "qSupported"):
		return "PacketSize=1000;qXfer:features:read+;vContSupported+;multiprocess+"
	case command == "vCont?":
		return "vCont;c;C;s;S"
	case command == "qfThreadInfo":
		return "m01"
	case command == "qsThreadInfo":
		return "l"
	case command == "qC":
		return "QC01"
	case command == "g":
		return strings.Repeat("00", registersSize-8) + fmt.Sprintf("%02x", s.rip) + strings.Repeat("00", 7+16)
	case command == "c":
		s.rip = 0x10
		return "T05thread:01;"
	}
	return "OK"
}

// commands are those that begin with one of the prefixes, in their order.
func (s *stub) commands(prefixes ...string) (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.seen {
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(c, p) }) {
			out = append(out, c)
		}
	}
	return out
}

func TestKindOfTrigger(t *testing.T) {
	for o, want := range map[Options][]string{
		{}:               {"Z0,ffffffff81000000,1", "Z0,10,1", "z0,10,1", "z0,ffffffff81000000,1"},
		{Hardware: true}: {"Z1,ffffffff81000000,1", "Z1,10,1", "z1,10,1", "z1,ffffffff81000000,1"},
	} {
		s := &stub{t: t}
		c := s.attach(o)
		for _, err := range []error{
			c.Break(t.Context(), 0xffffffff81000000),
			c.Break(t.Context(), 0x10),
			c.Break(t.Context(), 0x10),
			c.Clear(t.Context(), 0x10),
			c.Close(),
		} {
			if err != nil {
				t.Error(err)
			}
		}
		if got := s.commands("Z", "z"); !slices.Equal(got, want) {
			t.Errorf("%+v: %q, want %q", o, got, want)
		}
		if got := s.commands("D"); len(got) != 1 {
			t.Errorf("detached %d times", len(got))
		}
		<-s.ended
		if early := regexp.MustCompile(`#[0-9a-f]{2}\$[^#]*`).Find(s.raw.Bytes()); early != nil {
			t.Errorf("before %s the last answer was not acknowledged", early[3:])
		}
	}
}

// The stub speaks first, and out of turn later.
func TestUnasked(t *testing.T) {
	stop, output := packet("T02thread:01;"), packet("O48656c6c6f")
	s := &stub{t: t, before: stop + output + stop, answer: map[string]string{
		"Hg01": stop + output + packet("OK"),
		"m8,2": output + packet("0*\x20") + output + stop,
	}}
	c := s.attach(Options{})
	for range 3 {
		p := []byte{1, 1}
		if err := c.ReadVirt(t.Context(), 0, 8, p); err != nil || p[0] != 0 || p[1] != 0 {
			t.Errorf("read %x, %v", p, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	s := &stub{t: t, answer: map[string]string{
		"Z0,10,1":  packet("E22"),
		"m10,1":    packet(""),
		"m20,2":    packet("00"),
		"M10,1:ab": packet("what?"),
	}}
	c := s.attach(Options{})
	var refusal *Error
	if err := c.Break(t.Context(), 0x10); !errors.As(err, &refusal) || *refusal != (Error{"Z0,10,1", "E22"}) {
		t.Errorf("refused: %v", err)
	}
	if err := c.Clear(t.Context(), 0x10); err == nil {
		t.Error("the trigger refused was taken for set")
	}
	if err := c.ReadVirt(t.Context(), 0, 0x10, make([]byte, 1)); !errors.As(err, &refusal) || *refusal != (Error{"m10,1", ""}) {
		t.Errorf("not known: %v", err)
	}
	if err := c.ReadVirt(t.Context(), 0, 0x20, make([]byte, 2)); err == nil || errors.As(err, new(*Error)) {
		t.Errorf("half an answer: %v", err)
	}
	if err := c.WriteVirt(t.Context(), 0, 0x10, []byte{0xab}); err == nil || errors.As(err, new(*Error)) {
		t.Errorf("a strange answer: %v", err)
	}
}

// The answer to a command whose caller has gone must not be taken for that of the next.
func TestLateAnswer(t *testing.T) {
	s := &stub{t: t, answer: map[string]string{"m1,1": "", "m2,1": packet("bb")}}
	c := s.attach(Options{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	p := make([]byte, 1)
	for range 2 { // the second may not even be sent before the first is answered
		if err := c.ReadVirt(ctx, 0, 1, p); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("no answer: %v", err)
		}
	}
	s.say("T05thread:01;")
	s.say("aa")
	if err := c.ReadVirt(t.Context(), 0, 2, p); err != nil || p[0] != 0xbb {
		t.Errorf("read %x, %v", p, err)
	}
}

func TestStrangeStops(t *testing.T) {
	var stop *StopError
	tests := []struct {
		name, answer string
		want         func(error) bool
	}{
		{"shut down", packet("T03thread:01;"), func(err error) bool { return errors.As(err, &stop) && stop.Signal == 3 }},
		{"panicked", packet("T8fthread:01;"), func(err error) bool { return errors.As(err, &stop) && stop.Signal == 143 }},
		{"exit", packet("W00"), func(err error) bool { return errors.Is(err, ErrClosed) }},
		{"end", "hang up", func(err error) bool { return errors.Is(err, ErrClosed) }},
		{"nonsense", "$OK#00", func(err error) bool { return errors.Is(err, ErrClosed) }},
		{"an answer", packet("OK"), func(err error) bool { return err != nil && !errors.Is(err, ErrClosed) }},
		// A stop at no trigger is looked into once, not for ever.
		{"nowhere", packet("T05thread:01;"), func(err error) bool { return err != nil && strings.Contains(err.Error(), "no CPU at a trigger") }},
	}
	for _, tt := range tests {
		s := &stub{t: t, answer: map[string]string{"c": tt.answer}}
		c := s.attach(Options{})
		if got, err := c.Continue(t.Context()); !tt.want(err) || got != (machine.Stop{}) {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
	}
}

// A step that was reported done and was not must neither be taken for a new arrival nor repeated too often.
func TestStepsNotDone(t *testing.T) {
	s := &stub{t: t, lazy: 3}
	c := s.attach(Options{})
	if err := c.Break(t.Context(), 0x10); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got, err := c.Continue(t.Context()); err != nil || got != (machine.Stop{CPU: 0, Addr: 0x10}) {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	const who, step, set, remove = "Hc01", "vCont;s:01", "Z0,10,1", "z0,10,1"
	want := []string{set, "c", remove, who, step, step, step, step, set, "c", remove, who, step, set, "c"}
	if got := s.commands("Hc", "vCont;", "Z", "z", "c"); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestDialRefuses(t *testing.T) {
	for name, answer := range map[string]map[string]string{
		"end":            {"qSupported:vContSupported+": "hang up"},
		"small packets":  {"qSupported:vContSupported+": packet("PacketSize=20")},
		"no packet size": {"qSupported:vContSupported+": packet("vContSupported+")},
		"no size at all": {"qSupported:vContSupported+": packet("PacketSize=x")},
		"no steps":       {"vCont?": packet("vCont;c;C")},
		"no vCont":       {"vCont?": packet("")},
		"no CPUs":        {"qfThreadInfo": packet("l")},
	} {
		s := &stub{t: t, answer: answer}
		if _, err := s.dial(Options{}); err == nil {
			t.Errorf("%s: attached", name)
		}
	}
	if _, err := Dial(t.Context(), filepath.Join(t.TempDir(), "gdb"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no socket: %v", err)
	}
}

// A stub that no longer answers is left when the context ends, and closing again does not wait for it.
func TestDetachFromSilence(t *testing.T) {
	s := &stub{t: t, answer: map[string]string{"D": ""}}
	c := s.attach(Options{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := c.Detach(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("detached: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Break(t.Context(), 1); !errors.Is(err, ErrClosed) {
		t.Errorf("after that: %v", err)
	}
}
