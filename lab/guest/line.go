package guest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vdevil/vdevil/lab/machine"
)

// line is how a guest is spoken to that must not be told anything at an instant which depends on the host: through its memory, while it
// stands at its bell. See helper/line.go, which is the other side.
//
// The machine stands whenever nobody waits for the guest. While commands run side by side it goes on only when all who may ask for more
// are waiting, so that what they ask for comes at the same instant in every repeat.
type line struct {
	machine machine.Machine
	bell    machine.Ringer
	page    uint64 // physical address of the first page

	mu       sync.Mutex
	cond     *sync.Cond
	stands   bool // and it is this side's turn
	lost     error
	data     []uint64 // physical addresses of the pages of data
	branches int      // who may ask for something
	waiting  int      // of them those who wait for the guest
	pumping  bool
	last     uint32
	begun    []*lineCall          // not told to the guest yet
	calls    map[uint32]*lineCall // by session
	frames   []frame              // to be said
	trouble  func(context.Context) (stay bool)
	stayed   chan struct{} // closed when it stays where it is
}

// Kinds of frames, as in helper/line.go.
const (
	frameStir = iota + 1
	frameStart
	frameInput
	frameKill
	frameGo
	frameFree
	frameOutput
	frameExit
	frameTrouble
)

const (
	lineMagic  = "vdevil line\x00"
	linePage   = 4096
	lineLength = 4  // of all frames, before them
	lineHead   = 16 // of each frame
	maxPages   = (linePage - 32) / 8
)

type frame struct {
	kind, session, status uint32
	data                  []byte
}

// lineCall is a command under way.
type lineCall struct {
	branch         int
	command        string
	input          []byte
	stdout, stderr io.Writer
	session        uint32 // 0 until the guest is told
	done           bool
	status         uint32
	said           []byte // why it was not begun
}

// lineAt is what a guest that listens says of it on its console, to the end of the line: it comes byte by byte.
var lineAt = regexp.MustCompile(`(?m)^vdevil: the line is at 0x([0-9a-f]+), its bell at 0x([0-9a-f]+)\r?\n`)

// findLine is nil for a machine whose guest listens on no line.
func findLine(ctx context.Context, m machine.Machine) (*line, error) {
	bell, ok := m.(machine.Ringer)
	if !ok || !bell.HasBell() {
		return nil, nil
	}
	at := lineAt.FindSubmatch(m.Console().Bytes())
	if at == nil {
		return nil, nil
	}
	page, err := strconv.ParseUint(string(at[1]), 16, 64)
	if err != nil {
		return nil, err
	}
	l := &line{machine: m, bell: bell, page: page, branches: 1, calls: map[uint32]*lineCall{}, stayed: make(chan struct{})}
	l.cond = sync.NewCond(&l.mu)
	return l, l.open(ctx)
}

func (l *line) open(ctx context.Context) error {
	if err := l.bell.Rung(ctx); err != nil {
		return err
	}
	page := make([]byte, linePage)
	if err := l.machine.ReadPhys(ctx, l.page, page); err != nil {
		return err
	}
	n := binary.LittleEndian.Uint64(page[16:])
	if !bytes.HasPrefix(page, []byte(lineMagic)) || n == 0 || n > maxPages {
		return fmt.Errorf("there is no line at %#x", l.page)
	}
	for i := range n {
		l.data = append(l.data, binary.LittleEndian.Uint64(page[32+8*i:]))
	}
	l.stands = true
	return nil
}

// run is Guest.runTo.
func (l *line) run(ctx context.Context, command string, stdin io.Reader, stdout, stderr io.Writer) (*lineCall, error) {
	var input []byte
	if stdin != nil {
		var err error
		if input, err = io.ReadAll(stdin); err != nil {
			return nil, err
		}
	}
	wake := context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.cond.Broadcast()
	})
	defer wake()
	l.mu.Lock()
	defer l.mu.Unlock()
	call := &lineCall{branch: BranchOf(ctx), command: command, input: input, stdout: stdout, stderr: stderr}
	l.begun = append(l.begun, call)
	err := l.wait(ctx, func() bool { return call.done })
	if err != nil && !call.done {
		l.waiting--
		l.begun = slices.DeleteFunc(l.begun, func(c *lineCall) bool { return c == call })
		if delete(l.calls, call.session); call.session > 0 {
			l.frames = append(l.frames, frame{kind: frameKill, session: call.session})
		}
	}
	return call, err
}

// tell says something that has no answer.
func (l *line) tell(ctx context.Context, f frame) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.stands {
		if err := l.listen(ctx); err != nil {
			return err
		}
	}
	return l.talk(ctx, f)
}

// free has the guest ring no more, at the next ring if it does not stand.
func (l *line) free(ctx context.Context) {
	if l.bell.Rung(ctx) != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost == nil {
		l.lost = errFree
	}
	_ = l.say(ctx, frame{kind: frameFree}) // a machine that has ended is free
}

var errFree = errors.New("the guest goes on by itself")

// wait lets the guest go on until done, together with all others who wait. It is called and returns with the lock held.
func (l *line) wait(ctx context.Context, done func() bool) error {
	l.waiting++
	l.cond.Broadcast()
	for !done() {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case l.lost != nil:
			return l.lost
		case l.waiting >= l.branches && !l.pumping:
			l.pumping = true
			err := l.pump(ctx)
			l.pumping = false
			l.cond.Broadcast()
			if err != nil && ctx.Err() == nil {
				l.lost = err
			}
		default:
			l.cond.Wait()
		}
	}
	return nil
}

// pump says what there is to say, lets the guest go on and listens to what it says next.
func (l *line) pump(ctx context.Context) error {
	if !l.stands {
		return l.listen(ctx)
	}
	l.begin()
	return l.talk(ctx, frame{kind: frameGo})
}

// begin puts the calls in the order of their branches, whoever was first here.
func (l *line) begin() {
	slices.SortStableFunc(l.begun, func(a, b *lineCall) int { return a.branch - b.branch })
	for _, call := range l.begun {
		l.last++
		call.session = l.last
		l.calls[call.session] = call
		l.frames = append(l.frames, frame{kind: frameStart, session: call.session, data: []byte(call.command)})
		for piece := range slices.Chunk(call.input, l.room()-lineHead) {
			l.frames = append(l.frames, frame{kind: frameInput, session: call.session, data: piece})
		}
		l.frames = append(l.frames, frame{kind: frameInput, session: call.session, status: 1})
	}
	l.begun = nil
}

// talk says what there is to say and f, as much as there is room for at a time, and listens each time.
func (l *line) talk(ctx context.Context, f frame) error {
	l.frames = append(l.frames, f)
	for len(l.frames) > 0 {
		n, free := 0, l.room()
		for n < len(l.frames) && len(l.frames[n].data)+lineHead <= free {
			free -= len(l.frames[n].data) + lineHead
			n++
		}
		if n == 0 {
			return fmt.Errorf("a command of %d bytes is longer than %d", len(l.frames[0].data), free-lineHead)
		}
		some := l.frames[:n]
		l.frames = l.frames[n:]
		if err := l.say(ctx, some...); err != nil {
			return err
		}
		if err := l.listen(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (l *line) say(ctx context.Context, frames ...frame) error {
	length := 0
	for _, f := range frames {
		length += lineHead + len(f.data)
	}
	message := binary.LittleEndian.AppendUint32(nil, uint32(length))
	for _, f := range frames {
		for _, n := range []uint32{f.kind, f.session, f.status, uint32(len(f.data))} {
			message = binary.LittleEndian.AppendUint32(message, n)
		}
		message = append(message, f.data...)
	}
	if err := l.transfer(ctx, message, l.machine.WritePhys); err != nil {
		return err
	}
	l.stands = false
	return l.bell.LetGo(ctx)
}

// listen waits for the bell and takes what the guest says. The lock is open while it waits.
func (l *line) listen(ctx context.Context) error {
	l.mu.Unlock()
	err := l.bell.Rung(ctx)
	l.mu.Lock()
	if err != nil {
		return err
	}
	l.stands = true
	length := make([]byte, lineLength)
	if err := l.transfer(ctx, length, l.machine.ReadPhys); err != nil {
		return err
	}
	// What comes of damaged memory is as long as it can be.
	message := make([]byte, lineLength+min(int(binary.LittleEndian.Uint32(length)), l.room()))
	if err := l.transfer(ctx, message, l.machine.ReadPhys); err != nil {
		return err
	}
	for rest := message[lineLength:]; len(rest) >= lineHead; {
		number := func(i int) uint32 { return binary.LittleEndian.Uint32(rest[4*i:]) }
		f := frame{kind: number(0), session: number(1), status: number(2)}
		n := min(int(number(3)), len(rest)-lineHead)
		f.data, rest = rest[lineHead:lineHead+n], rest[lineHead+n:]
		if err := l.take(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

func (l *line) take(ctx context.Context, f frame) error {
	call := l.calls[f.session]
	switch {
	case f.kind == frameTrouble && l.trouble != nil:
		trouble := l.trouble
		l.mu.Unlock()
		stay := trouble(ctx)
		l.mu.Lock()
		if !stay {
			return nil
		}
		l.lost = errStays
		close(l.stayed)
		return errStays
	case call == nil: // it was given up
	case f.kind == frameOutput:
		to := call.stdout
		if f.status == 2 {
			to = call.stderr
		}
		_, _ = to.Write(f.data) // one who does not want to hear it does not end the command
	case f.kind == frameExit:
		call.done, call.status, call.said = true, f.status, f.data
		l.waiting--
		delete(l.calls, f.session)
	}
	return nil
}

// errStays says that the machine stays where it is, as it has crashed.
var errStays = errors.New("the machine has crashed and stands")

// room is what there is for frames, in bytes.
func (l *line) room() int { return len(l.data)*linePage - lineLength }

// transfer reads or writes from the beginning of the data.
func (l *line) transfer(ctx context.Context, p []byte, do func(context.Context, uint64, []byte) error) error {
	for _, page := range l.data {
		if len(p) == 0 {
			break
		}
		n := min(len(p), linePage)
		if err := do(ctx, page, p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// branch notes that n go on where one was. Each of them calls leave when it is through.
func (l *line) branch(n int) (leave func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.branches += n - 1
	left := n
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if left--; left > 0 {
			l.branches--
			l.cond.Broadcast()
		}
	}
}

// exit is how a call has ended that is done.
func (c *lineCall) exit(stderr []byte) (int, error) {
	const signalled = 256
	if c.status == 0 {
		return 0, nil
	}
	text := bytes.TrimSpace(append(bytes.Clone(stderr), c.said...))
	e := &ExitError{Command: c.command, Status: int(c.status), Stderr: string(text[max(0, len(text)-stderrTail):])}
	if c.status >= signalled {
		e.Status, e.Signal = -1, strings.TrimPrefix(unix.SignalName(syscall.Signal(c.status-signalled)), "SIG")
	}
	return e.Status, e
}
