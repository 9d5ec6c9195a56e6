package guest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/scripttest"
)

// ringer is a machine whose guest is played by the test: it is let go with frames in its memory, and rings at once with others.
type ringer struct {
	*scripttest.Machine
	rings chan struct{}
	turns int // how often it was let go
	// play answers what the lab says, and what there is to say when the guest is to go on.
	play func(frame) []frame
}

const firstPage = 4096

func newRinger(t *testing.T, play func(frame) []frame) *ringer {
	t.Helper()
	const pages = 2
	m := scripttest.New(t)
	m.RAM = make([]byte, (2+2*pages)*linePage)
	page := m.RAM[firstPage:]
	copy(page, lineMagic)
	binary.LittleEndian.PutUint64(page[16:], pages)
	for i := range pages { // not one behind the other
		binary.LittleEndian.PutUint64(page[32+8*i:], uint64((3+2*i)*linePage-linePage))
	}
	m.Print("\nvdevil: the line is at 0x1000, its bell at 0x2000\n")
	r := &ringer{Machine: m, rings: make(chan struct{}, 1), play: play}
	r.rings <- struct{}{}
	return r
}

var _ machine.Ringer = (*ringer)(nil)

func (r *ringer) HasBell() bool                      { return true }
func (r *ringer) Hang(context.Context, uint64) error { return errors.New("it hangs") }

func (r *ringer) Elapsed(context.Context) (now, before time.Duration, err error) { return 0, 0, nil }

func (r *ringer) SetAlarm(context.Context, time.Duration) error { return errors.New("it has no timer") }

func (r *ringer) SetTicks(context.Context, time.Duration, time.Duration) error {
	return errors.New("it has no timer")
}

func (r *ringer) Rung(ctx context.Context) error {
	select {
	case <-r.rings:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *ringer) LetGo(ctx context.Context) error {
	r.turns++
	at := func(i int) []byte { return r.RAM[(3+2*i)*linePage-linePage:][:linePage] }
	pages := int(binary.LittleEndian.Uint64(r.RAM[firstPage+16:]))
	all := make([]byte, 0, pages*linePage)
	for i := range pages {
		all = append(all, at(i)...)
	}
	var answers []frame
	for rest := all[lineLength:][:binary.LittleEndian.Uint32(all)]; len(rest) > 0; {
		number := func(i int) uint32 { return binary.LittleEndian.Uint32(rest[4*i:]) }
		f := frame{kind: number(0), session: number(1), status: number(2), data: bytes.Clone(rest[lineHead:][:number(3)])}
		rest = rest[lineHead+number(3):]
		answers = append(answers, r.play(f)...)
	}
	if len(answers) > 0 && answers[0].kind == frameFree { // the guest does not ring again
		return nil
	}
	clear(all)
	said := all[:lineLength]
	for _, f := range answers {
		for _, v := range []uint32{f.kind, f.session, f.status, uint32(len(f.data))} {
			said = binary.LittleEndian.AppendUint32(said, v)
		}
		said = append(said, f.data...)
	}
	binary.LittleEndian.PutUint32(all, uint32(len(said)-lineLength))
	for i := range pages {
		copy(at(i), all[i*linePage:])
	}
	r.rings <- struct{}{}
	return ctx.Err()
}

func onLine(t *testing.T, r *ringer) *Guest {
	t.Helper()
	g, err := Connect(t.Context(), r, Keys{})
	if !errors.Is(err, nil) || !g.Counted() {
		t.Fatal(err)
	}
	return g
}

// echo is a guest whose commands print their names and inputs, and end as their names say.
type echo struct {
	said    []string // kinds, sessions and commands
	input   map[uint32][]byte
	command map[uint32]string
	queue   []frame
}

func (e *echo) play(f frame) []frame {
	switch f.kind {
	case frameStart:
		e.said = append(e.said, "start "+string(f.data))
		e.command[f.session] = string(f.data)
	case frameInput:
		e.input[f.session] = append(e.input[f.session], f.data...)
		if f.status != 1 {
			break
		}
		status := uint32(0)
		_, _ = fmt.Sscanf(e.command[f.session], "exit %d", &status)
		e.queue = append(e.queue, frame{frameOutput, f.session, 1, []byte(e.command[f.session] + ":")})
		for piece := range slices.Chunk(e.input[f.session], 100) {
			e.queue = append(e.queue, frame{frameOutput, f.session, 1, piece})
		}
		e.queue = append(e.queue, frame{frameOutput, f.session, 2, []byte("warning\n")}, frame{frameExit, f.session, status, nil})
	case frameGo:
		e.said = append(e.said, "go")
		if len(e.queue) == 0 {
			return []frame{{kind: frameFree}}
		}
		// What a command printed and how it ended come together, as much as has room.
		n := 1 + slices.IndexFunc(e.queue, func(f frame) bool { return f.kind != frameOutput })
		n = min(n, 60)
		said := e.queue[:n]
		e.queue = e.queue[n:]
		return said
	case frameKill:
		e.said = append(e.said, "kill")
	}
	return nil
}

func newEcho() *echo { return &echo{input: map[uint32][]byte{}, command: map[uint32]string{}} }

func TestLine(t *testing.T) {
	e := newEcho()
	r := newRinger(t, e.play)
	g := onLine(t, r)
	input := bytes.Repeat([]byte("0123456789"), 2500) // three frames
	out, err := g.run(t.Context(), "cat", bytes.NewReader(input))
	if err != nil || string(out.Stdout) != "cat:"+string(input) || string(out.Stderr) != "warning\n" {
		t.Errorf("%.40q %q %v", out.Stdout, out.Stderr, err)
	}
	var exit *ExitError
	if out, err := g.Run(t.Context(), "exit 3"); !errors.As(err, &exit) || out.Status != 3 || exit.Stderr != "warning" {
		t.Errorf("%+v, %v", out, err)
	}
	r.turns = 0
	if out, err := g.Run(t.Context(), "exit 265"); !errors.As(err, &exit) || out.Status != -1 || exit.Signal != "KILL" {
		t.Errorf("%+v, %v", out, err)
	}
	if r.turns != 1 { // each one costs what QEMU has translated
		t.Errorf("a command took %d turns", r.turns)
	}
	if _, err := g.Run(t.Context(), strings.Repeat("x", 3*linePage)); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("a command that no frame holds: %v", err)
	}
}

// A guest goes on only when all who may ask for something wait, and is told in the order of the branches, whoever comes first.
func TestLineBranches(t *testing.T) {
	var first []string
	for range 20 {
		e := newEcho()
		g := onLine(t, newRinger(t, e.play))
		leave := g.Branch(3)
		var all sync.WaitGroup
		for i := range 3 {
			all.Go(func() {
				defer leave()
				for n := range 4 - i {
					if _, err := g.Run(InBranch(t.Context(), i), fmt.Sprintf("%d.%d", i, n)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		if _, err := g.Run(t.Context(), "after"); err != nil {
			t.Error(err)
		}
		if first == nil {
			first = e.said
		}
		if !slices.Equal(e.said, first) || !slices.Equal(e.said[:4], []string{"start 0.0", "start 1.0", "start 2.0", "go"}) {
			t.Fatalf("the guest was told %q, and %q before", e.said, first)
		}
	}
}

// A command that is given up is killed when the guest rings next.
func TestLineGivenUp(t *testing.T) {
	e := newEcho()
	r := newRinger(t, e.play)
	g := onLine(t, r)
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer stop()
	e.command[1] = ""
	hang := r.play
	r.play = func(f frame) []frame {
		if f.kind == frameGo {
			return []frame{{kind: frameFree}} // nothing to say yet
		}
		return hang(f)
	}
	if _, err := g.Run(ctx, "sleep infinity"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	r.play = hang
	r.rings <- struct{}{}
	if _, err := g.Run(t.Context(), "next"); err != nil || !slices.Contains(e.said, "kill") {
		t.Errorf("%v, the guest was told %q", err, e.said)
	}
}

// What the kernel says of trouble stops all, if it is a crash.
func TestLineTrouble(t *testing.T) {
	for _, stay := range []bool{false, true} {
		e := newEcho()
		e.queue = []frame{{kind: frameTrouble}}
		g := onLine(t, newRinger(t, e.play))
		g.OnTrouble(func(context.Context) bool { return stay })
		_, err := g.Run(t.Context(), "work")
		stays := false
		select {
		case <-g.Stays():
			stays = true
		default:
		}
		if (err != nil) != stay || stays != stay {
			t.Errorf("stay %v: %v, stays %v", stay, err, stays)
		}
	}
}

// A guest says where its bell is in pieces, and half an address is none.
func TestAnnounced(t *testing.T) {
	m := scripttest.New(t)
	m.Print("\nvdevil: the line is at 0x1000, its bell at 0x20")
	time.AfterFunc(50*time.Millisecond, func() { m.Print("00\r\n") })
	if at, err := (&Guest{machine: m}).announced(t.Context()); at != 0x2000 || err != nil {
		t.Errorf("at %#x: %v", at, err)
	}
}
