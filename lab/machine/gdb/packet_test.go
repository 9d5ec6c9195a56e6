package gdb

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestEncode(t *testing.T) {
	for body, want := range map[string]string{
		"":         "$#00",
		"g":        "$g#67",
		"m0,8":     "$m0,8#01",
		"a}b":      "$a}]b#9d",
		"#$*}":     "$}\x03}\x04}\n}]#62",
		"\x03\xff": "$\x03\xff#02",
	} {
		if got := string(encode(body)); got != want {
			t.Errorf("%q is encoded as %q, want %q", body, got, want)
		}
	}
}

// packet wraps raw bytes as they stand.
func packet(raw string) string { return fmt.Sprintf("$%s#%02x", raw, checksum([]byte(raw))) }

func TestDecode(t *testing.T) {
	tests := []struct {
		name, in, want string
	}{
		{"empty", "$#00", ""},
		{"acknowledgement before", "++$OK#9a", "OK"},
		{"noise before", "\x03xyz%~$OK#9a", "OK"},
		{"upper-case checksum", "$OK#9A", "OK"},
		{"escapes", packet("a}\x03}\x04}]}\nb"), "a#$}*b"},
		{"repeats", packet("0* "), "0000"},
		{"longest repeat", packet("0*~"), strings.Repeat("0", 98)},
		{"repeat of an escaped byte", packet("}]*!"), "}}}}}"},
		{"two repeats", packet("0* 1* x"), "00001111x"},
		{"longer than a buffer", packet(strings.Repeat("ab", 1<<16)), strings.Repeat("ab", 1<<16)},
		{"a stop reply", "$T05thread:01;#07", "T05thread:01;"},
	}
	for _, tt := range tests {
		r := bufio.NewReader(strings.NewReader(tt.in + "$next#bf"))
		got, err := decode(r)
		if err != nil || got != tt.want {
			t.Errorf("%s: %.40q, %v", tt.name, got, err)
		} else if next, err := decode(r); err != nil || next != "next" {
			t.Errorf("%s: followed by %q, %v", tt.name, next, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	const (
		end     = "the stream ended"
		refused = "the peer refused"
		wrong   = "not understood"
	)
	tests := []struct {
		name, in, want string
	}{
		{"nothing", "", end},
		{"an end in the body", "$ab", end},
		{"an end in the checksum", "$ab#c", end},
		{"a wrong checksum", "$OK#9b", wrong},
		{"a checksum that is no number", "$OK#zz", wrong},
		{"an escape at the end", packet("a}"), wrong},
		{"a repeat at the end", packet("a*"), wrong},
		{"a repeat of nothing", packet("* "), wrong},
		{"a repeat of too few", packet("a*\x1f"), wrong},
		{"a repeat beyond print", packet("a*\x7f"), wrong},
		{"a refusal", "-$OK#9a", refused},
		{"too long a packet", packet(strings.Repeat("a", 2*maxBody)), wrong},
		{"too many repeats", packet("a" + strings.Repeat("*~", maxBody/90)), wrong},
	}
	for _, tt := range tests {
		body, err := decode(bufio.NewReader(strings.NewReader(tt.in)))
		got := wrong
		switch {
		case err == nil:
			got = "understood as " + body
		case errors.Is(err, io.EOF):
			got = end
		case errors.Is(err, errNack):
			got = refused
		}
		if got != tt.want {
			t.Errorf("%s: %.40s: %v", tt.name, got, err)
		}
	}
}

// Whatever comes in, decode ends, holds no more than it may, and takes back what encode makes of the result.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{"", "$OK#9a", "++$T05thread:01;#07$g#67", "$0* #7a", "$a}]b#9d", "$}#7d", "$*#2a", "-", "$a*\x7f#0a", "$OK#9", "$##23"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bufio.NewReader(bytes.NewReader(in))
		for {
			body, err := decode(r)
			if err != nil {
				return
			}
			if len(body) > maxBody+98 {
				t.Fatalf("%d bytes", len(body))
			}
			again, err := decode(bufio.NewReader(bytes.NewReader(encode(body))))
			if err != nil || again != body {
				t.Fatalf("%q came back as %q, %v", body, again, err)
			}
		}
	})
}
