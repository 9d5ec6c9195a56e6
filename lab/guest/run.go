package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"

	"al.essio.dev/pkg/shellescape"
	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/vdevil/vdevil/lab/machine"
)

// Output is what a command printed and how it ended.
type Output struct {
	Stdout []byte
	Stderr []byte
	// Status is the exit status, -1 when there is none: the command was killed, or its end was not seen.
	Status int
}

// ExitError says that a command ran and did not succeed.
type ExitError struct {
	Command string
	Status  int    // -1 when a signal ended it
	Signal  string // without "SIG", empty when it exited
	Stderr  string // its end
}

func (e *ExitError) Error() string {
	s := fmt.Sprintf("%s: exit status %d", shorten(e.Command), e.Status)
	if e.Signal != "" {
		s = fmt.Sprintf("%s: killed by SIG%s", shorten(e.Command), e.Signal)
	}
	if e.Stderr != "" {
		s += ": " + e.Stderr
	}
	return s
}

// Refused says whether the guest answered with an error, as against giving no answer: a command that failed, or a file
// that could not be read or written.
func Refused(err error) bool {
	return errors.As(err, new(*ExitError)) || errors.As(err, new(*sftp.StatusError)) || errors.As(err, new(*fileError))
}

// Lost says whether the connection to a guest broke whose machine lives, as when its ssh server has died.
func Lost(err error) bool {
	return errors.As(err, new(*machine.Error)) && !errors.Is(err, machine.ErrDied)
}

const (
	stderrTail   = 2048 // bytes of stderr that an ExitError carries
	commandShown = 200  // bytes of a command that a message shows
)

// shorten makes a command fit into one line of a message.
func shorten(command string) string {
	line, _, more := strings.Cut(command, "\n")
	if len(line) > commandShown {
		line, more = line[:commandShown], true
	}
	if more {
		line += " ..."
	}
	return line
}

// Run runs a command line in root's shell, with no input. A status other than 0 is an *ExitError. When ctx ends first,
// Run returns its error and what was printed until then; the command's process group is killed without waiting, which has
// no effect on a process that a panic has parked in the kernel. Any number of commands run at once.
func (g *Guest) Run(ctx context.Context, command string) (Output, error) {
	return g.run(ctx, command, nil)
}

// Printed is Run for what is printed alone.
func (g *Guest) Printed(ctx context.Context, command string) ([]byte, error) {
	output, err := g.Run(ctx, command)
	return output.Stdout, err
}

// RunShown is Run for a caller who wants to see what is printed as it comes.
func (g *Guest) RunShown(ctx context.Context, command string, stdout, stderr io.Writer) error {
	_, err := g.runTo(ctx, command, nil, stdout, &afterLine{to: stderr})
	return err
}

// RunScript runs a bash script, with set -euo pipefail, args as its $1 and so on, and no input. It fails like Run.
func (g *Guest) RunScript(ctx context.Context, script string, args ...string) (Output, error) {
	return g.runScript(ctx, script, io.Discard, args...)
}

// runScript is RunScript for a caller who wants to see what is printed as it comes.
func (g *Guest) runScript(ctx context.Context, script string, watch io.Writer, args ...string) (Output, error) {
	// bash reads the script from its input, command by command. The braces make it read all of it before the first
	// command runs, so that no command can eat the rest, and half a script is never run.
	input := "set -euo pipefail; {\n" + script + "\n}\n"
	return g.runTo(ctx, shellescape.QuoteCommand(append([]string{"bash", "-s", "--"}, args...)), strings.NewReader(input), watch, io.Discard)
}

// run is Run with an input.
func (g *Guest) run(ctx context.Context, command string, stdin io.Reader) (Output, error) {
	return g.runTo(ctx, command, stdin, io.Discard, io.Discard)
}

// runTo is run for a caller who wants to see what is printed as it comes.
func (g *Guest) runTo(ctx context.Context, command string, stdin io.Reader, watch, watchErr io.Writer) (Output, error) {
	failed := func(err error) error {
		if ctx.Err() != nil {
			return fmt.Errorf("run %s: %w", shorten(command), context.Cause(ctx))
		}
		return evidence(g.machine, "run "+shorten(command), err)
	}
	if g.line != nil {
		stdout, stderr := &capture{}, &capture{}
		call, err := g.line.run(ctx, command, stdin, io.MultiWriter(stdout, watch), io.MultiWriter(stderr, watchErr))
		output := Output{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Status: -1}
		if err != nil {
			return output, failed(err)
		}
		output.Status, err = call.exit(output.Stderr)
		return output, err
	}
	session, err := await(ctx, g.client.NewSession, closeSession)
	if err != nil {
		return Output{Status: -1}, failed(err)
	}
	stdout, stderr := &capture{}, &capture{pid: make(chan int, 1)}
	session.Stdin, session.Stdout, session.Stderr = stdin, io.MultiWriter(stdout, watch), io.MultiWriter(stderr, watchErr)
	_, err = await(ctx, func() (struct{}, error) {
		defer closeSession(session)
		return struct{}{}, session.Run(announcePID + command)
	}, nil)
	output := Output{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Status: -1}
	var exit *ssh.ExitError
	switch {
	case err == nil:
		output.Status = 0
		return output, nil
	case errors.As(err, &exit):
		if exit.Signal() == "" {
			output.Status = exit.ExitStatus()
		}
		text := bytes.TrimSpace(output.Stderr)
		return output, &ExitError{
			Command: command,
			Status:  output.Status,
			Signal:  exit.Signal(),
			Stderr:  string(text[max(0, len(text)-stderrTail):]),
		}
	case ctx.Err() != nil:
		go g.abandon(session, stderr.pid)
	}
	return output, failed(err)
}

// abandon kills what runs in a session and closes it. sshd forwards no signals in a session of root, so a second
// session does it. Either may block for as long as the connection lives.
func (g *Guest) abandon(session *ssh.Session, pid <-chan int) {
	select {
	case n := <-pid:
		if killer, err := g.client.NewSession(); err == nil {
			_ = killer.Run("kill -KILL -- -" + strconv.Itoa(n)) // it may have ended by itself
			closeSession(killer)
		}
	case <-g.gone:
	}
	closeSession(session)
}

// closeSession ends a session. Its error says only that the other side has ended it before.
func closeSession(s *ssh.Session) { _ = s.Close() }

// announcePID makes the shell print the number of its process group before anything else. sshd makes the shell of a
// session the leader of a group.
const (
	announcePID = "echo " + pidMark + "$$ >&2\n"
	pidMark     = "vdevil-session:"
)

// afterLine passes on what comes after the first line, which is that of announcePID.
type afterLine struct {
	to   io.Writer
	past bool
}

func (a *afterLine) Write(p []byte) (int, error) {
	rest := p
	if !a.past {
		_, rest, a.past = bytes.Cut(p, []byte("\n"))
	}
	if len(rest) == 0 {
		return len(p), nil
	}
	_, err := a.to.Write(rest)
	return len(p), err
}

// capture keeps what a command prints. It may be read while the command still runs.
type capture struct {
	mu  sync.Mutex
	buf []byte
	// pid gets the announced process group, once. It is nil where none is announced.
	pid chan int
	// seen is set when the announcement was cut out of buf.
	seen bool
}

func (c *capture) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf = append(c.buf, p...)
	if c.pid != nil && !c.seen {
		c.cutPID()
	}
	return len(p), nil
}

func (c *capture) cutPID() {
	before, rest, found := bytes.Cut(c.buf, []byte(pidMark))
	if !found {
		return
	}
	number, after, whole := bytes.Cut(rest, []byte("\n"))
	if !whole {
		return
	}
	c.seen = true
	if n, err := strconv.Atoi(string(number)); err == nil {
		c.pid <- n
	}
	c.buf = append(bytes.Clone(before), after...)
}

// Bytes is a copy of what was printed so far.
func (c *capture) Bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.buf)
}

// isClosed says whether an error only means that a connection was closed before.
func isClosed(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe)
}
