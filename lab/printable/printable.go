// Package printable makes text of others safe to show: names that a stranger gave to pools, datasets, files and hosts, and what
// a guest wrote to its console. A terminal obeys control characters, and some characters hide or reorder what stands beside
// them. What is not to be seen is written as an escape, \u001b, as JSON has it, so that a document of JSON stays one. Text that is
// printable stays as it is, in whatever script, and so does what was made printable before.
//
// Line is for text that enters a message, Writer for the place where all messages leave, so that none can be forgotten.
package printable

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
)

// Line is text for one line of a message: ends of lines and tabs are escaped, too.
func Line(s string) string { return escape(s, false) }

// Text is text of several lines, which may have tabs.
func Text(s string) string { return escape(s, true) }

func escape(s string, lines bool) string {
	bad := strings.IndexFunc(s, func(r rune) bool { return !plain(r, lines) || r == utf8.RuneError })
	if bad < 0 {
		return s
	}
	b := append(make([]byte, 0, len(s)+16), s[:bad]...)
	for i := bad; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1: // no UTF-8
			b = fmt.Appendf(b, `\x%02x`, s[i])
		case plain(r, lines):
			b = utf8.AppendRune(b, r)
		case lines && r == '\r' && strings.HasPrefix(s[i:], "\r\n"): // the end of a line of a console
		default:
			b = appendEscape(b, r)
		}
		i += n
	}
	return string(b)
}

// plain says that a character is shown as it is. Letters, marks, numbers, punctuation, symbols and spaces are; control
// characters, those that set the direction of writing or have no width, and those that nobody has defined are not.
func plain(r rune, lines bool) bool {
	return strconv.IsGraphic(r) || lines && (r == '\n' || r == '\t')
}

func appendEscape(b []byte, r rune) []byte {
	switch r {
	case '\n':
		return append(b, `\n`...)
	case '\r':
		return append(b, `\r`...)
	case '\t':
		return append(b, `\t`...)
	}
	if high, low := utf16.EncodeRune(r); high != utf8.RuneError {
		return fmt.Appendf(b, `\u%04x\u%04x`, high, low)
	}
	return fmt.Appendf(b, `\u%04x`, r)
}

// Writer passes on what is written to it as Text has it. It may be used by several goroutines.
type Writer struct {
	mu   sync.Mutex
	w    io.Writer
	rest []byte // the beginning of a character, or of an end of line, whose other bytes are not there yet
}

// NewWriter is a writer before another one.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Unwrap is the other one, for what is meant to control a terminal.
func (w *Writer) Unwrap() io.Writer { return w.w }

// Write writes all of p, except for the beginning of a character, which waits for its end.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := slices.Concat(w.rest, p)
	n := whole(all)
	if _, err := io.WriteString(w.w, Text(string(all[:n]))); err != nil {
		return 0, err
	}
	w.rest = append([]byte(nil), all[n:]...)
	return len(p), nil
}

// whole is how many bytes of p end with a character that is complete.
func whole(p []byte) int {
	if n := len(p); n > 0 && p[n-1] == '\r' {
		return n - 1
	}
	for i := max(0, len(p)-utf8.UTFMax+1); i < len(p); i++ {
		if utf8.RuneStart(p[i]) && !utf8.FullRune(p[i:]) {
			return i
		}
	}
	return len(p)
}
