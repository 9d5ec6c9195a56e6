package panics

import (
	"regexp"
	"strings"
)

// line is one console line and the message in it.
type line struct {
	pos int
	raw []byte
	// text is the message without time stamp, log prefix, terminal codes and blanks around it.
	text string
	// printer tells messages of different threads or CPUs apart on kernels with CONFIG_PRINTK_CALLER; else empty.
	printer string
	// stamped lines carry a mark of the kernel's log.
	stamped bool
	// echo marks a repetition by a log daemon ("Message from syslogd@...").
	echo bool
}

var (
	terminalCode = regexp.MustCompile(`\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[()][0-9A-Za-z]|[@-Z=>c78])`)
	// A kernel line may follow text without a line end, as in "vm login: [   72.511551] sysrq: Trigger a crash".
	kernelStamp = regexp.MustCompile(`(?:<\d+>)?\[ *\d+\.\d{6}\] ?(?:\[ *([TC]\d+)\])? ?`)
	dmesgDate   = regexp.MustCompile(`^\[[A-Z][a-z]{2} [A-Z][a-z]{2} +\d+ \d\d:\d\d:\d\d \d{4}\] ?`)
	journal     = regexp.MustCompile(`^(?:[A-Z][a-z]{2} +\d+ \d\d:\d\d:\d\d(?:\.\d+)?|\d{4}-\d\d-\d\d[T ]\S+) \S+ kernel: ?`)
	wall        = regexp.MustCompile(`^\s*kernel(?:\[\d+\])?: ?`)
)

// parseLine takes the message out of a raw console line.
func parseLine(pos int, raw []byte) line {
	l := line{pos: pos, raw: raw}
	s := strings.TrimRight(string(raw), "\r\n")
	if strings.IndexByte(s, 0x1b) >= 0 {
		s = terminalCode.ReplaceAllString(s, "")
	}
	if m := wall.FindString(s); m != "" {
		s, l.echo, l.stamped = s[len(m):], true, true
	} else if m := journal.FindString(s); m != "" {
		s, l.stamped = s[len(m):], true
	} else if m := dmesgDate.FindString(s); m != "" {
		s, l.stamped = s[len(m):], true
	}
	if m := kernelStamp.FindStringSubmatchIndex(s); m != nil {
		if m[2] >= 0 {
			l.printer = s[m[2]:m[3]]
		}
		s, l.stamped = s[m[1]:], true
	}
	l.text = strings.TrimSpace(s)
	return l
}
