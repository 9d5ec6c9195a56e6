package panics

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

const (
	maxLine  = 4 << 10  // a longer line is cut in two
	maxRaw   = 64 << 10 // bytes kept of one event
	maxStack = 512      // frames kept of one event
	// A VERIFY prints two lines and a stack has lines that are no frames; other CPUs may print some between them.
	maxBetween = 16
	maxWait    = 64 // lines until a stack must have begun; else there is none, as the log level may hide it
)

// Scanner finds events in console bytes as they arrive. How the bytes are cut into pieces makes no difference. The zero
// value is ready; a Scanner serves one console and one goroutine.
//
// Linux prints a stack under a lock, so the stacks of two panics at once come one after the other, while their messages
// and other lines may lie anywhere between; that is sorted out by process id. Stacks mixed line by line are told apart
// only if the kernel names the printer of each line (CONFIG_PRINTK_CALLER).
type Scanner struct {
	rest []byte // a line whose end has not come
	pos  int    // of rest[0]
	n    int    // lines so far

	open  []*begun         // in order of beginning, until handed out
	dumps map[string]*dump // the stack being printed, by printer
	asked []line           // VERIFY lines whose "PANIC at" has not come
	when  []int            // the numbers of those lines
	prev  line             // the last line that said nothing yet
	said  map[string]int   // messages that a log daemon may still repeat
	last  *begun           // what lines that say nothing by themselves belong to
	falls int              // events of class Oops so far
	hangs int              // events of class Hang so far
	fatal []string         // texts of the ZFS checks so far
	tasks bool             // each task whose stack is printed is an event
}

// begun is an event whose end may not have come.
type begun struct {
	Event
	done bool
	// nobody is a stack that is no event, as of a kernel warning.
	nobody bool
	// dumped says that its stack has begun.
	dumped bool
	// echoed is known only from a log daemon so far.
	echoed bool
	// interrupt is the number of frames of its stack that belong to an interrupt's handler, above what it interrupted.
	interrupt int
	// line is the number of its first line.
	line int
	// named events give their process away before the stack comes: "Showing stack for process".
	named bool
	// bare is a kernel panic, without a check or an oops before it. Its stack may show that it is ZFS's own.
	bare bool
}

// dump is a stack while it is printed.
type dump struct {
	of     *begun
	trace  bool // "Call Trace:" was seen
	task   bool // inside <TASK>
	inside bool // a frame that does not merely print was seen
	other  int  // lines since the last frame
}

// Feed takes the next bytes of the console and returns the events that are complete by now, in order of beginning.
func (s *Scanner) Feed(p []byte) []Event {
	for len(p) > 0 {
		take := min(len(p), maxLine-len(s.rest))
		i := bytes.IndexByte(p[:take], '\n')
		if i >= 0 {
			take = i + 1
		}
		s.rest = append(s.rest, p[:take]...)
		p = p[take:]
		if i >= 0 || len(s.rest) == maxLine {
			s.endLine()
		}
	}
	return s.release()
}

// Flush ends what has begun, a last line without its end included, and returns it. It is for the moment when nothing
// more will come, or nothing more shall be waited for.
func (s *Scanner) Flush() []Event {
	if len(s.rest) > 0 {
		s.endLine()
	}
	for _, b := range s.open {
		b.finish()
	}
	clear(s.dumps)
	return s.release()
}

// Pending says that an event has begun whose end has not been seen: the guest is already lost, its stack may follow.
func (s *Scanner) Pending() bool {
	return slices.ContainsFunc(s.open, func(b *begun) bool { return !b.nobody })
}

// release hands out what is complete and not behind an event that is not.
func (s *Scanner) release() []Event {
	var out []Event
	var kept []*begun
	waiting := false
	for _, b := range s.open {
		switch {
		case b.nobody && b.done:
		case b.nobody, waiting, !b.done:
			kept = append(kept, b)
			waiting = waiting || !b.nobody
		default:
			out = append(out, b.Event)
		}
	}
	s.open = kept
	return out
}

func (s *Scanner) endLine() {
	l := parseLine(s.pos, s.rest)
	s.pos += len(s.rest)
	s.rest = nil
	s.n++
	if l.text == "" {
		return
	}
	s.giveUp(l)
	said := s.message(l) || l.echo || s.stack(l)
	if !said && s.last != nil && !s.last.done && s.n-s.last.line <= maxBetween {
		s.last.add(l)
	}
	s.prev = line{}
	if !said {
		s.prev = l
	}
}

// giveUp ends what l shows, or the time shows, that nothing more will come of.
func (s *Scanner) giveUp(l line) {
	for len(s.asked) > 0 && s.n-s.when[0] > maxBetween {
		s.asked, s.when = s.asked[1:], s.when[1:]
	}
	goesOn := slices.ContainsFunc(hungTaskLines, func(p string) bool { return strings.HasPrefix(l.text, p) })
	for _, b := range s.open {
		if !b.dumped && (s.n-b.line > maxWait || b.Condition == condHung && !goesOn) {
			b.finish()
		}
	}
}

// hungTaskLines come between the report of a hung task and its stack, which the log level may hide.
var hungTaskLines = []string{`"echo 0 > /proc`, "Tainted:", "Not tainted", "task:"}

// begin opens an event. It returns nil for a repetition by a log daemon.
func (s *Scanner) begin(e Event, lines ...line) *begun {
	l := lines[len(lines)-1]
	if l.echo && s.said[l.text] > 0 {
		s.said[l.text]--
		return nil
	}
	for _, b := range s.open {
		if !l.echo && b.echoed && b.Text == e.Text {
			b.echoed = false // the daemon was faster than the console
			b.add(l)
			s.last = b
			return nil
		}
	}
	if !l.echo && e.Class != Warned && e.Class != Detected { // warnings are not urgent enough to be repeated
		s.heard(l)
	}
	b := &begun{Event: e, echoed: l.echo, line: s.n, named: e.Class == Panic}
	b.Pos = lines[0].pos
	for _, l := range lines {
		b.add(l)
	}
	s.open = append(s.open, b)
	s.last = b
	switch e.Class {
	case Oops:
		s.falls++
	case Hang:
		s.hangs++
	case Panic:
		s.fatal = append(s.fatal, e.Text)
	case Warned, Detected:
		b.finish()
	}
	return b
}

// heard remembers an urgent line, which a log daemon may repeat.
func (s *Scanner) heard(l line) {
	if s.said == nil {
		s.said = map[string]int{}
	}
	s.said[l.text]++
}

// ignore opens a stack that is no event, so that none mistakes it for its own.
func (s *Scanner) ignore(pid int) {
	s.open = append(s.open, &begun{Event: Event{PID: pid}, nobody: true, line: s.n})
	s.last = nil
}

// add keeps a line that belongs to the event.
func (b *begun) add(l line) {
	if len(b.Raw)+len(l.raw) <= maxRaw {
		b.Raw = append(b.Raw, l.raw...)
	}
}

// finish completes an event: everything that needs the whole stack happens here.
func (b *begun) finish() {
	if b.done {
		return
	}
	b.done = true
	if f, ok := firstOutside(b.Stack, printsPanic); ok && b.bare && b.Class == Oops && modules[f.Module] {
		b.Class, b.Condition = Panic, CondOther
	}
	switch b.Class {
	case Panic, Warned:
		b.Caller = caller(&b.Event)
	case Oops:
		b.Caller = place(b.fell())
	case Hang:
		b.Caller = place(b.Stack)
	}
}

// fell is the part of an oops' stack that may be to blame: an interrupt's handler that falls did not do so on behalf of
// what it interrupted.
func (b *begun) fell() []Frame {
	if b.interrupt > 0 {
		return b.Stack[:b.interrupt]
	}
	return b.Stack
}

func atoi(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}
