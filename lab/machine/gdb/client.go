// Package gdb is a client of QEMU's gdb stub: it holds the CPUs of a machine, reads and writes their registers and
// memory, and stops them at code addresses. It speaks as much of gdb's remote serial protocol as that takes, and relies
// on how QEMU's stub behaves (gdbstub.c, 7.2) where the protocol leaves it open.
//
// While a client is attached and Continue is not running, the machine stands still; nobody else may resume or stop it
// meanwhile (QMP cont, stop), for the stub cannot tell.
package gdb

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/vdevil/vdevil/lab/machine"
)

var (
	_ machine.Debugger = (*Client)(nil)
	_ machine.Holder   = (*Client)(nil)
)

// ErrClosed is wrapped by the errors of a client whose connection has ended, by Close or with QEMU.
var ErrClosed = errors.New("gdb: connection closed")

var errClosing = fmt.Errorf("%w by this side", ErrClosed)

// Error is the stub's refusal of a command.
type Error struct {
	Command string // the packet, shortened
	Code    string // "E22" for what makes no sense, "E14" for memory that is not mapped, "" for a command unknown to it
}

func (e *Error) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("the stub does not know %s", e.Command)
	}
	return fmt.Sprintf("the stub answered %s to %s", e.Code, e.Command)
}

// Options say how a client works.
type Options struct {
	// Hardware triggers use the debug registers, which limits them to 4. KVM needs them: its software triggers are an
	// int3 written into the guest's memory, which checkpoints would contain. Under TCG neither touches memory.
	Hardware bool
}

// Client is one connection to the stub of a machine. All methods are safe for concurrent use, but only one works at a
// time, and the others wait, for Continue too.
type Client struct {
	conn    net.Conn
	kind    byte          // of triggers in Z packets
	packets chan string   // what the stub said; closed after readErr is set
	turn    chan struct{} // holds a token while a method works
	closing chan struct{} // closed when Close begins
	closed  chan struct{} // closed when conn is
	close   sync.Once
	readErr error

	// What follows belongs to the method that has its turn.
	owed     int      // answers still to come to commands whose callers have gone
	size     int      // of packets the stub accepts, in bytes
	threads  []string // thread id of each CPU
	triggers map[uint64]struct{}
	reported map[int]uint64 // where CPUs were last reported, since the machine ran
}

// Dial attaches to the stub that listens at a UNIX socket, which stops the machine. A stub that another client is attached
// to does not answer before that has gone.
func Dial(ctx context.Context, path string, o Options) (*Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("connecting to the gdb stub: %w", err)
	}
	c := &Client{
		conn:     conn,
		kind:     '0',
		packets:  make(chan string),
		turn:     make(chan struct{}, 1),
		closing:  make(chan struct{}),
		closed:   make(chan struct{}),
		triggers: map[uint64]struct{}{},
		reported: map[int]uint64{},
	}
	if o.Hardware {
		c.kind = '1'
	}
	go c.read()
	err = c.features(ctx)
	if err == nil {
		err = c.listCPUs(ctx)
	}
	if err != nil {
		close(c.closed)
		conn.Close()
		return nil, fmt.Errorf("attaching to the gdb stub at %s: %w", path, err)
	}
	return c, nil
}

// features learns what the stub can do. It must be the first command: the stub stops a running machine when a client
// arrives and sends a stop reply for that, before it looks at any command; the answer to this one cannot be mistaken
// for a stop reply and so marks the end of what was stale.
func (c *Client) features(ctx context.Context) error {
	answer, err := c.ask(ctx, "qSupported:vContSupported+")
	if err != nil {
		return err
	}
	for f := range strings.SplitSeq(answer, ";") {
		if hex, ok := strings.CutPrefix(f, "PacketSize="); ok {
			n, err := strconv.ParseUint(hex, 16, 24)
			if err != nil {
				return fmt.Errorf("the stub's features: %w", err)
			}
			c.size = int(n)
		}
	}
	if c.size < minPacket {
		return fmt.Errorf("the stub takes packets of %d bytes, at least %d are needed", c.size, minPacket)
	}
	answer, err = c.ask(ctx, "vCont?")
	if err == nil && !strings.Contains(answer, ";s") {
		err = fmt.Errorf("the stub cannot step a single CPU: %s", answer)
	}
	return err
}

// minPacket has room for all registers of a G packet and for a useful piece of memory.
const minPacket = 1024

func (c *Client) listCPUs(ctx context.Context) error {
	for command := "qfThreadInfo"; ; command = "qsThreadInfo" {
		answer, err := c.ask(ctx, command)
		if err != nil {
			return err
		}
		ids, ok := strings.CutPrefix(answer, "m")
		if !ok {
			break
		}
		c.threads = append(c.threads, strings.Split(ids, ",")...)
	}
	if len(c.threads) == 0 {
		return errors.New("the stub knows no CPUs")
	}
	return nil
}

// Close removes all triggers, lets the machine run on, and detaches. A Continue under way ends with ErrClosed. Closing
// twice is harmless, and so is closing after the machine has ended. It waits for as long as QEMU takes to answer.
func (c *Client) Close() error { return c.Detach(context.Background()) }

// Detach is Close for those who cannot wait for a QEMU that may hang: when ctx ends first, its error is returned and
// the connection just cut. The machine then stays stopped, with its triggers.
func (c *Client) Detach(ctx context.Context) error {
	var err error
	c.close.Do(func() {
		close(c.closing)
		err = c.detach(ctx)
		close(c.closed)
		c.conn.Close()
		if errors.Is(err, ErrClosed) { // nobody is left to detach from
			err = nil
		}
	})
	return err
}

func (c *Client) detach(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}: // and never given back: later callers find closing
	case <-ctx.Done():
		return ctx.Err()
	}
	for addr := range c.triggers {
		if err := c.order(ctx, c.trigger('z', addr)); err != nil {
			return err
		}
	}
	return c.order(ctx, "D")
}

// begin waits for the caller's turn.
func (c *Client) begin(ctx context.Context) error {
	select { // or a client being closed could still be lucky
	case <-c.closing:
		return errClosing
	default:
	}
	select {
	case c.turn <- struct{}{}:
		return nil
	case <-c.closing:
		return errClosing
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Client) end() { <-c.turn }

// ask sends a command and waits for its answer.
func (c *Client) ask(ctx context.Context, command string) (string, error) {
	for c.owed > 0 {
		if _, err := c.answer(ctx); err != nil {
			return "", err
		}
		c.owed--
	}
	if err := c.send(encode(command)); err != nil {
		return "", err
	}
	answer, err := c.answer(ctx)
	if err != nil {
		if !errors.Is(err, ErrClosed) {
			c.owed++
		}
		return "", err
	}
	if answer == "" || answer[0] == 'E' { // hexadecimal answers are in lower case
		return "", &Error{Command: fmt.Sprintf("%.40s", command), Code: answer}
	}
	return answer, nil
}

// order sends a command that has nothing to answer but OK.
func (c *Client) order(ctx context.Context, command string) error {
	answer, err := c.ask(ctx, command)
	if err == nil && answer != "OK" {
		err = fmt.Errorf("%.40s: unexpected answer %.40q", command, answer)
	}
	return err
}

// send cannot block on QEMU's socket for long: there is never more than one unanswered command, and one fits.
func (c *Client) send(b []byte) error {
	if _, err := c.conn.Write(b); err != nil {
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return nil
}

// answer returns the next packet that is no stop reply: those come unasked, and none of the commands that ask is
// answered by one.
func (c *Client) answer(ctx context.Context) (string, error) {
	for {
		p, err := c.receive(ctx, nil)
		if err != nil {
			return "", err
		}
		if _, ok := stopSignal(p); !ok {
			return p, nil
		}
	}
}

// receive returns the next packet that is about CPUs or commands, unless ctx ends or closing is closed before.
func (c *Client) receive(ctx context.Context, closing <-chan struct{}) (string, error) {
	for {
		select {
		case p, ok := <-c.packets:
			switch {
			case !ok:
				return "", fmt.Errorf("%w: %w", ErrClosed, c.readErr)
			case p == "":
				return p, nil
			case p[0] == 'W' || p[0] == 'X':
				return "", fmt.Errorf("%w: QEMU has ended", ErrClosed)
			case p[0] == 'O' && p != "OK": // output of the guest, which is for a human
			default:
				return p, nil
			}
		case <-ctx.Done():
			return "", ctx.Err()
		case <-closing:
			return "", errClosing
		}
	}
}

// read takes packets from the connection until it ends. A packet is acknowledged before anybody sees it, for the stub
// would take an acknowledgement that comes after it was told to continue for an interrupt.
func (c *Client) read() {
	defer close(c.packets)
	r := bufio.NewReader(c.conn)
	for {
		p, err := decode(r)
		if err == nil {
			_, err = c.conn.Write([]byte("+"))
		}
		if err != nil {
			c.readErr = err
			return
		}
		select {
		case c.packets <- p:
		case <-c.closed:
			c.readErr = net.ErrClosed
			return
		}
	}
}
