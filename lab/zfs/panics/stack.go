package panics

import (
	"regexp"
	"strconv"
	"strings"
)

var (
	showing = regexp.MustCompile(`^Showing stack for process (\d+)`)
	header  = regexp.MustCompile(`^CPU: \d+ (?:UID: \d+ )?PID: (\d+) Comm: (.+?) (?:Kdump: |Tainted: |Not tainted)`)
	task    = regexp.MustCompile(`^task:(.+?)\s+state:.*?\bpid:\s*(\d+)`)
	// The instruction pointer of kernel code, x86 and arm64: arch/x86/kernel/dumpstack.c, show_ip().
	pointer = regexp.MustCompile(`^(?:RIP: 0010:|pc : )(?:\[<[0-9a-f]+>\] *)*([A-Za-z_].*)`)
	frame   = regexp.MustCompile(`^(?:\[<[0-9a-f]+>\] )?(\? )?([A-Za-z_][\w.$]*)\+0x([0-9a-f]+)/0x([0-9a-f]+)` +
		`(?: \[([\w-]+)(?: [0-9a-f]+)?\])?(?: \([A-Z]+\))?$`)
	afterTrace = regexp.MustCompile(`^(?:Modules linked in:|---\[ end |Code: |RIP: 00[23]3:|Kernel Offset:|Rebooting in )`)
)

// outermost are the functions below which a stack has nothing more.
var outermost = map[string]bool{
	"ret_from_fork": true, "ret_from_fork_asm": true, "entry_SYSCALL_64_after_hwframe": true, "el0t_64_sync": true,
}

// afterInterrupt are the ends of the stacks that interrupts run on (arch/x86/kernel/dumpstack_64.c, stack_type_name).
var afterInterrupt = map[string]bool{"</IRQ>": true, "</SOFTIRQ>": true, "</NMI>": true}

// stack handles a line of a stack and says whether l is one.
func (s *Scanner) stack(l line) bool {
	if m := showing.FindStringSubmatch(l.text); m != nil {
		for _, b := range s.open {
			if b.Class == Panic && b.PID == 0 && !b.done && !b.dumped {
				b.PID = atoi(m[1])
				b.add(l)
				break
			}
		}
		return true
	}
	if m := header.FindStringSubmatch(l.text); m != nil {
		d := s.beginDump(l, atoi(m[1]), false)
		d.of.Thread, d.of.PID = m[2], atoi(m[1])
		d.of.add(l)
		return true
	}
	if m := task.FindStringSubmatch(l.text); m != nil {
		if s.tasks {
			s.endDump(l.printer)
			s.begin(Event{Class: Hang, Condition: condHung, Text: l.text, Thread: m[1], PID: atoi(m[2])}, l)
		}
		d := s.beginDump(l, atoi(m[2]), true)
		d.of.Thread, d.of.PID = m[1], atoi(m[2])
		d.of.add(l)
		return true
	}
	if m := frame.FindStringSubmatch(l.text); m != nil {
		s.frame(l, m)
		return true
	}
	d := s.dumps[l.printer]
	if d == nil {
		return false
	}
	d.of.add(l)
	s.last = nil
	d.other++
	if d.reads(l.text) {
		s.endDump(l.printer)
	}
	return true
}

// reads takes a line of a stack that is no frame, and says whether it is the last one.
func (d *dump) reads(text string) bool {
	switch {
	case pointer.MatchString(text):
		if m := frame.FindStringSubmatch(pointer.FindStringSubmatch(text)[1]); m != nil {
			f := parseFrame(m)
			f.pointer = true
			d.push(f)
		}
	case afterInterrupt[text]:
		if d.of.interrupt == 0 {
			d.of.interrupt = len(d.of.Stack)
		}
	case strings.EqualFold(text, "Call Trace:"):
		d.trace = true
	case text == "<TASK>":
		d.task = true
	case text == "</TASK>", d.trace && !d.task && afterTrace.MatchString(text), d.inside && d.other > maxBetween:
		return true
	}
	return false
}

// beginDump opens the stack of a process, ending the one before, and finds the event it belongs to.
func (s *Scanner) beginDump(l line, pid int, ofTask bool) *dump {
	s.endDump(l.printer)
	d := &dump{of: &begun{nobody: true, done: true}}
	if b := s.awaiting(pid, ofTask); b != nil {
		b.dumped = true
		d.of = b
	}
	if s.dumps == nil {
		s.dumps = map[string]*dump{}
	}
	s.dumps[l.printer] = d
	s.last = nil
	return d
}

// awaiting is the event that waits for the stack of a process: the one that named the process; else the first that had
// no occasion to; else the first that has not done so yet. A pid of 0 may be any process. The stacks of tasks, which
// others print, belong to hung tasks and stalls alone.
func (s *Scanner) awaiting(pid int, ofTask bool) *begun {
	var unnamed, first *begun
	for _, b := range s.open {
		if b.done || b.dumped || ofTask && b.Class != Hang {
			continue
		}
		switch {
		case pid != 0 && b.PID == pid:
			return b
		case pid != 0 && b.PID != 0:
		case unnamed == nil && pid != 0 && !b.named:
			unnamed = b
		case first == nil:
			first = b
		}
	}
	if unnamed != nil {
		return unnamed
	}
	return first
}

// endDump ends the stack that a printer prints, and with it the event.
func (s *Scanner) endDump(printer string) {
	if d := s.dumps[printer]; d != nil {
		d.of.finish()
		delete(s.dumps, printer)
	}
}

func (s *Scanner) frame(l line, m []string) {
	f := parseFrame(m)
	d := s.dumps[l.printer]
	// Logs that somebody filtered lack the lines around stacks; then what prints a panic begins the next one.
	if d == nil || !d.trace && d.inside && !f.Unreliable && printsPanic(f) {
		d = s.beginDump(l, 0, false)
	}
	d.other = 0
	d.inside = d.inside || !f.Unreliable && !printsPanic(f)
	d.of.add(l)
	d.push(f)
	if outermost[f.Func] && !f.Unreliable && d.trace && !d.task {
		s.endDump(l.printer)
	}
}

// parseFrame reads what the expression frame has matched.
func parseFrame(m []string) Frame {
	f := Frame{Unreliable: m[1] != "", Func: m[2], Module: m[5]}
	f.Offset, _ = strconv.ParseUint(m[3], 16, 64)
	f.Size, _ = strconv.ParseUint(m[4], 16, 64)
	return f
}

// push adds a frame to the stack of the event.
func (d *dump) push(f Frame) {
	if len(d.of.Stack) < maxStack {
		d.of.Stack = append(d.of.Stack, f)
	}
}
