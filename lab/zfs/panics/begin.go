package panics

import (
	"regexp"
	"strings"
)

const kernelPanic = "Kernel panic - not syncing: "

// kernelWarning is WARN_ON, in the wording up to and since Linux 6.18.
var kernelWarning = regexp.MustCompile(`^WARNING: (?:CPU: \d+ PID: (\d+) at |\S+:\d+ at .*CPU#\d+)`)

// suspended is zio_suspend (zio.c), for whatever reason.
var suspended = regexp.MustCompile(`^Pool '.*' (has been|.* has been) suspended`)

// message handles a line that begins an event or continues its message, and says whether l is one.
func (s *Scanner) message(l line) bool {
	e := Event{Text: l.text}
	if text, ok := strings.CutPrefix(l.text, kernelPanic); ok {
		s.kernelPanic(l, text)
		return true
	}
	if m := kernelWarning.FindStringSubmatch(l.text); m != nil {
		s.ignore(atoi(m[1]))
		return true
	}
	if text, ok := strings.CutPrefix(l.text, "WARNING: "); ok {
		if suspended.MatchString(text) {
			e.Class, e.Condition = Detected, CondSuspended
			s.begin(e, l)
			return true
		}
		if !readCheck(&e, text) {
			return false
		}
		e.Class = Warned
		s.begin(e, l)
		return true
	}
	if m := panicAt.FindStringSubmatch(l.text); m != nil {
		s.assertion(l, m)
		return true
	}
	if readStuck(&e, l.text) {
		s.begin(e, l)
		return true
	}
	if readFall(&e, l.text) {
		s.fall(e, l)
		return true
	}
	if text, ok := strings.CutPrefix(l.text, "PANIC: "); ok {
		e.Class, e.Condition = Panic, CondOther
		readCheck(&e, text)
		s.begin(e, l)
		return true
	}
	if readCheck(&e, l.text) && (e.Condition == CondVerify || e.Condition == CondRemovePartial) {
		s.asked, s.when = append(s.asked, l), append(s.when, s.n)
		return true
	}
	return false
}

// assertion begins the event of a VERIFY or ASSERT, whose first line came before, or of PANIC(), whose message is any.
func (s *Scanner) assertion(l line, at []string) {
	lines := []line{l}
	for i, first := range s.asked {
		if first.printer == l.printer && first.echo == l.echo {
			lines = []line{first, l}
			s.asked, s.when = append(s.asked[:i:i], s.asked[i+1:]...), append(s.when[:i:i], s.when[i+1:]...)
			break
		}
	}
	if len(lines) == 1 && s.prev.stamped && s.prev.printer == l.printer {
		lines = []line{s.prev, l}
	}
	e := Event{Class: Panic, Condition: CondOther, File: at[1], Line: atoi(at[2]), Func: at[3], Text: l.text}
	if len(lines) == 2 {
		readCheck(&e, lines[0].text)
		e.Text = lines[0].text + "\n" + l.text
	}
	s.begin(e, lines...)
}

// fall begins an oops or continues its message: "BUG: ..." may be followed by "Oops: ...", "kernel BUG at ..." by
// "invalid opcode: ...".
func (s *Scanner) fall(e Event, l line) {
	if b := s.last; b != nil && b.Class == Oops && !b.done && !l.echo &&
		(oopsCode.MatchString(l.text) || e.Condition == "invalid-opcode") {
		b.Text += "\n" + l.text
		b.add(l)
		s.heard(l)
		return
	}
	s.begin(e, l)
}

// kernelPanic handles the kernel's last message. It may be the consequence of an event that began before: then it is
// no event of its own.
func (s *Scanner) kernelPanic(l line, text string) {
	for i, said := range s.fatal {
		first, _, _ := strings.Cut(strings.TrimPrefix(said, "PANIC: "), "\n")
		if first != text {
			continue
		}
		s.fatal = append(s.fatal[:i:i], s.fatal[i+1:]...)
		for _, b := range s.open {
			if b.Text == said && !b.dumped && !b.done { // spl_panic_halt=1: the stack follows, once
				b.Text += "\n" + l.text
				b.add(l)
				s.heard(l)
				b.named = false
				s.last = b
				return
			}
		}
		s.ignore(0)
		return
	}
	e := Event{Text: l.text}
	switch {
	case readStuck(&e, l.text):
		if s.hangs == 0 {
			s.begin(e, l).finish() // the stack is that of the watchdog
		}
		s.ignore(0)
		return
	case strings.HasPrefix(text, "Fatal exception") && s.falls > 0:
		s.ignore(0)
		return
	case readCheck(&e, text):
		e.Class = Panic
	default:
		e.Class, e.Condition = Oops, "kernel-panic"
	}
	if b := s.begin(e, l); b != nil {
		b.bare, b.named = true, false
	}
}
