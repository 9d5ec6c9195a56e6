// Package qmp is a client of QEMU's machine protocol: commands by any number of callers at once, and events. It knows
// the form of the conversation (docs/interop/qmp-spec of QEMU) and nothing of what single commands mean.
package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// ErrClosed is wrapped by the errors of a client whose connection has ended, by Close or with QEMU.
var ErrClosed = errors.New("qmp: connection closed")

// Error is QEMU's refusal of a command.
type Error struct {
	Class string `json:"class"` // "GenericError" nearly always, "CommandNotFound" for a word unknown to this QEMU
	Desc  string `json:"desc"`
}

func (e *Error) Error() string { return fmt.Sprintf("%s (%s)", e.Desc, e.Class) }

// Client is one connection to a monitor. All methods are safe for concurrent use.
type Client struct {
	conn    net.Conn
	writing chan struct{} // holds a token while a command is being written
	done    chan struct{} // closed after err is set

	mu    sync.Mutex
	last  uint64
	calls map[uint64]chan<- message
	subs  map[*subscription]struct{}
	err   error // why the connection ended
}

// message is everything QEMU may say.
type message struct {
	Greeting json.RawMessage `json:"QMP"`
	Return   json.RawMessage `json:"return"`
	Error    *Error          `json:"error"`
	ID       *uint64         `json:"id"`

	Event     string          `json:"event"`
	Data      json.RawMessage `json:"data"`
	Timestamp struct {
		Seconds, Microseconds int64
	} `json:"timestamp"`
}

func (m message) result() (message, error) {
	if m.Error != nil {
		return message{}, m.Error
	}
	return m, nil
}

// Dial connects to the monitor at a UNIX socket and leaves negotiation mode. While the socket does not exist or
// nobody listens, it tries again until ctx ends: a QEMU just started needs a moment to open it.
//
// QEMU should be told to wait for this connection (server=on,wait=on). With wait=off a client as early as this one can
// hang QEMU 7.2 for good: while the monitor's thread takes the listening socket over, the main loop may already have
// seen the client on it, and then blocks in an accept of its own that nobody will ever satisfy.
func Dial(ctx context.Context, path string) (*Client, error) {
	conn, err := connect(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("connecting to the monitor at %s: %w", path, err)
	}
	c, err := handshake(ctx, conn)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("greeting the monitor at %s: %w", path, err)
	}
	return c, nil
}

// poll is the pause between two attempts to connect. It is short because forks wait for it, and cheap because a
// connect to a missing socket is one system call.
const poll = 2 * time.Millisecond

func connect(ctx context.Context, path string) (net.Conn, error) {
	var d net.Dialer
	for {
		// An attempt at a UNIX socket does not wait, so ctx is left to the select below, where the reason for trying
		// again is known.
		conn, err := d.DialContext(context.WithoutCancel(ctx), "unix", path)
		switch {
		case err == nil:
			return conn, nil
		case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EAGAIN):
		default:
			return nil, err
		}
		select {
		case <-time.After(poll):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w (%w)", ctx.Err(), err)
		}
	}
}

// handshake starts a client on conn. On error the connection is left to the caller.
func handshake(ctx context.Context, conn net.Conn) (*Client, error) {
	c := &Client{
		conn:    conn,
		writing: make(chan struct{}, 1),
		done:    make(chan struct{}),
		calls:   map[uint64]chan<- message{},
		subs:    map[*subscription]struct{}{},
	}
	greeted := make(chan struct{})
	go c.read(greeted)
	select {
	case <-greeted:
	case <-c.done:
		return nil, c.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := c.Execute(ctx, "qmp_capabilities", nil, nil); err != nil {
		return nil, err
	}
	return c, nil
}

// Execute runs a command and waits for its answer. args is encoded as the command's arguments, nil for none; the
// answer is decoded into result unless that is nil. A refusal is an *Error. When ctx ends first its error is returned,
// the command may still take effect, and the client stays usable.
func (c *Client) Execute(ctx context.Context, command string, args, result any) error {
	m, err := c.call(ctx, command, args)
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(m.Return, result); err != nil {
		return fmt.Errorf("%s: decoding the answer: %w", command, err)
	}
	return nil
}

// HMP runs a line of the human monitor and returns what it prints. A command that fails says so in its text only.
func (c *Client) HMP(ctx context.Context, line string) (string, error) {
	var out string
	err := c.Execute(ctx, "human-monitor-command", map[string]string{"command-line": line}, &out)
	if err != nil {
		return "", fmt.Errorf("%q: %w", line, err)
	}
	return out, nil
}

// Close ends the connection; the machine runs on. Closing twice is harmless.
func (c *Client) Close() error {
	c.fail(errors.New("closed by this side"))
	return nil
}

func (c *Client) call(ctx context.Context, command string, args any) (message, error) {
	if err := ctx.Err(); err != nil { // or the command could be quicker
		return message{}, err
	}
	answer := make(chan message, 1) // room for one, so that the reader never waits for a caller
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return message{}, c.err
	}
	c.last++
	id := c.last
	c.calls[id] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.calls, id)
		c.mu.Unlock()
	}()

	request, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
		ID        uint64 `json:"id"`
	}{command, args, id})
	if err != nil {
		return message{}, fmt.Errorf("encoding the arguments: %w", err)
	}
	if err := c.write(ctx, append(request, '\n')); err != nil {
		return message{}, err
	}
	select {
	case m := <-answer:
		return m.result()
	case <-c.done:
	case <-ctx.Done():
		return message{}, ctx.Err()
	}
	select {
	case m := <-answer: // "quit" is answered before the end
		return m.result()
	default:
		return message{}, c.err
	}
}

// write sends a request whole or not at all. Half a request can only be left when QEMU stops reading and ctx ends in
// the middle of it; nothing intelligible can follow then, so the connection is given up.
func (c *Client) write(ctx context.Context, request []byte) error {
	select {
	case c.writing <- struct{}{}:
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-c.writing }()
	expired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = c.conn.SetWriteDeadline(time.Unix(1, 0)) // a closed connection needs no deadline
		close(expired)
	})
	n, err := c.conn.Write(request)
	if !stop() {
		<-expired
		_ = c.conn.SetWriteDeadline(time.Time{})
	}
	switch {
	case err == nil:
		return nil
	case n == 0 && ctx.Err() != nil:
		return ctx.Err()
	}
	c.fail(err)
	return c.err
}

// read serves the connection until it ends.
func (c *Client) read(greeted chan<- struct{}) {
	d := json.NewDecoder(bufio.NewReader(c.conn))
	for {
		var m message
		if err := d.Decode(&m); err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the other side hung up")
			}
			c.fail(err)
			return
		}
		switch {
		case m.Event != "":
			c.publish(m)
		case m.ID != nil:
			c.mu.Lock()
			if answer, ok := c.calls[*m.ID]; ok { // else its caller has gone
				answer <- m
				delete(c.calls, *m.ID)
			}
			c.mu.Unlock()
		case m.Greeting != nil && greeted != nil:
			close(greeted)
			greeted = nil
		case m.Error != nil: // QEMU could not parse a request and therefore not tell whose it was
			c.fail(m.Error)
			return
		}
	}
}

// fail ends the connection for all callers, once.
func (c *Client) fail(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = fmt.Errorf("%w: %w", ErrClosed, why)
	close(c.done)
	c.conn.Close()
	for s := range c.subs {
		s.end()
	}
}
