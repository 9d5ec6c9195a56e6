package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// peer is the other end of a connection, with QEMU's manners and our lines.
type peer struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Scanner
}

func newPeer(t *testing.T) (*peer, net.Conn) {
	a, b := net.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	return &peer{t, b, bufio.NewScanner(b)}, a
}

func (p *peer) say(format string, args ...any) { fmt.Fprintf(p.conn, format+"\n", args...) }

// request reads a command and returns its word and id.
func (p *peer) request() (string, uint64) {
	var r struct {
		Execute string
		ID      uint64
	}
	if p.in.Scan() {
		if err := json.Unmarshal(p.in.Bytes(), &r); err != nil {
			p.t.Errorf("request %s: %v", p.in.Bytes(), err)
		}
	}
	return r.Execute, r.ID
}

func (p *peer) greet() {
	p.say(`{"QMP":{"version":{},"capabilities":[]}}`)
	word, id := p.request()
	if word != "qmp_capabilities" {
		p.t.Errorf("first command is %q", word)
	}
	p.say(`{"return":{},"id":%d}`, id)
}

func greeted(t *testing.T) (*peer, *Client) {
	t.Helper()
	p, conn := newPeer(t)
	go p.greet()
	c, err := handshake(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	return p, c
}

func TestAnswersOutOfOrder(t *testing.T) {
	p, c := greeted(t)
	go func() {
		ids := map[string]uint64{}
		for range 2 {
			word, id := p.request()
			ids[word] = id
		}
		p.say(`{"return":1,"id":999}`) // to a caller that has gone
		p.say(`{"return":"b","id":%d}`, ids["b"])
		p.say(`{"timestamp":{"seconds":1,"microseconds":2},"event":"E"}`)
		p.say(`{"return":"a","id":%d}`, ids["a"])
	}()
	events, cancel := c.Subscribe("E")
	defer cancel()
	answers := make(chan string, 2)
	for _, command := range []string{"a", "b"} {
		go func() {
			var got string
			if err := c.Execute(t.Context(), command, nil, &got); err != nil {
				t.Error(err)
			}
			answers <- command + got
		}()
	}
	for range 2 {
		if a := <-answers; a != "aa" && a != "bb" {
			t.Errorf("command and answer: %s", a)
		}
	}
	if e := <-events; !e.Time.Equal(time.Unix(1, 2000)) || e.Data != nil {
		t.Errorf("event %+v", e)
	}
}

func TestAnswerThenEnd(t *testing.T) {
	for range 1000 { // what comes first for the caller is a matter of luck
		p, c := greeted(t)
		go func() {
			_, id := p.request()
			p.say(`{"return":{},"id":%d}`, id)
			p.conn.Close()
		}()
		if err := c.Execute(t.Context(), "quit", nil, nil); err != nil {
			t.Fatalf("answered, but: %v", err)
		}
	}
}

// A peer that stops reading must not hold callers longer than their contexts, and a request not begun costs nothing.
func TestPeerStopsReading(t *testing.T) {
	p, c := greeted(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := c.Execute(ctx, "a", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nothing read: %v", err)
	}
	go func() {
		_, id := p.request()
		p.say(`{"return":{},"id":%d}`, id)
		io.CopyN(io.Discard, p.conn, 5) // half of the next
	}()
	if err := c.Execute(t.Context(), "b", nil, nil); err != nil {
		t.Errorf("after a request that was never written: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := c.Execute(ctx, "c", nil, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("half a request: %v", err)
	}
}

func TestNonsense(t *testing.T) {
	for line, end := range map[string]bool{
		`{"error":{"class":"GenericError","desc":"Invalid JSON syntax"}}`: false, // to whom?
		`{"return":`:    true,
		`[]`:            false,
		`{"id":"text"}`: false,
	} {
		p, c := greeted(t)
		go func() {
			p.request()
			p.say("%s", line)
			if end {
				p.conn.Close()
			}
		}()
		if err := c.Execute(t.Context(), "a", nil, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestHandshake(t *testing.T) {
	is := func(want error) func(error) bool {
		return func(err error) bool { return errors.Is(err, want) }
	}
	tests := []struct {
		name string
		peer func(*peer)
		want func(error) bool
	}{
		{"hangs up", func(p *peer) { p.conn.Close() }, is(ErrClosed)},
		{"says nothing", func(*peer) {}, is(context.DeadlineExceeded)},
		{"refuses", func(p *peer) {
			p.say(`{"QMP":{}}`)
			_, id := p.request()
			p.say(`{"error":{"class":"GenericError","desc":"no"},"id":%d}`, id)
		}, func(err error) bool { return errors.As(err, new(*Error)) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, conn := newPeer(t)
			go tt.peer(p)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if _, err := handshake(ctx, conn); !tt.want(err) {
				t.Errorf("%v", err)
			}
		})
	}
}
