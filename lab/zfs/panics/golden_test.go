package panics

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the EVENTS of the golden files")

// A golden file is a header and, after an empty line, a console:
//
//	TITLE: what it is
//	SOURCE: "recorded: " and the guest that printed it, or "composed: " and the formats that it follows
//	REFERENCE: an issue that had this form of a message, if there is one; its text is not here
//	EVENTS:
//	class signature | text, lines joined by " / " | what else was found
type golden struct {
	path, title, source, reference string
	events                         []string
	console                        []byte
}

func readGolden(t *testing.T, path string) golden {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, console, ok := bytes.Cut(data, []byte("\n\n"))
	if !ok {
		t.Fatalf("%s: no empty line after the header", path)
	}
	g := golden{path: path, console: console}
	inEvents := false
	for l := range strings.Lines(string(head)) {
		l = strings.TrimSuffix(l, "\n")
		switch {
		case inEvents:
			g.events = append(g.events, l)
		case strings.HasPrefix(l, "TITLE: "):
			g.title = l[len("TITLE: "):]
		case strings.HasPrefix(l, "SOURCE: "):
			g.source = l[len("SOURCE: "):]
		case strings.HasPrefix(l, "REFERENCE: "):
			g.reference = l[len("REFERENCE: "):]
		case l == "EVENTS:":
			inEvents = true
		default:
			t.Fatalf("%s: header line %q is not known", path, l)
		}
	}
	if g.title == "" || g.source == "" || !inEvents {
		t.Fatalf("%s: header lacks TITLE, SOURCE or EVENTS", path)
	}
	if how, _, _ := strings.Cut(g.source, ": "); how != "recorded" && how != "composed" {
		t.Fatalf("%s: SOURCE says neither recorded nor composed: %q", path, g.source)
	}
	return g
}

func goldens(t *testing.T) []golden {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) < 20 {
		t.Fatalf("golden files: %d, %v", len(paths), err)
	}
	out := make([]golden, 0, len(paths))
	for _, p := range paths {
		out = append(out, readGolden(t, p))
	}
	return out
}

// describe is the line of a golden file for an event.
func describe(e Event) string {
	more := fmt.Sprintf("%s/%d frames=%d", e.Thread, e.PID, len(e.Stack))
	if e.Func != "" {
		more += fmt.Sprintf(" at %s:%d:%s", e.File, e.Line, e.Func)
	}
	if e.Size != 0 {
		more += fmt.Sprintf(" segment=%x+%x", e.Offset, e.Size)
	}
	if e.Tree != "" {
		more += " tree=" + e.Tree
	}
	return fmt.Sprintf("%s %s | %s | %s", e.Class, e.Signature(), strings.ReplaceAll(e.Text, "\n", " / "), more)
}

func TestGolden(t *testing.T) {
	for _, g := range goldens(t) {
		t.Run(strings.TrimSuffix(filepath.Base(g.path), ".txt"), func(t *testing.T) {
			var got []string
			for _, e := range Scan(g.console) {
				got = append(got, describe(e))
			}
			if *update {
				var b bytes.Buffer
				fmt.Fprintf(&b, "TITLE: %s\nSOURCE: %s\n", g.title, g.source)
				if g.reference != "" {
					fmt.Fprintf(&b, "REFERENCE: %s\n", g.reference)
				}
				fmt.Fprintln(&b, "EVENTS:")
				for _, l := range got {
					fmt.Fprintln(&b, l)
				}
				fmt.Fprintln(&b)
				b.Write(g.console)
				if err := os.WriteFile(g.path, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := g.events; !reflect.DeepEqual(got, want) {
				t.Errorf("%s\ngot:\n%s\nwant:\n%s", g.title, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// feed gives the console to a Scanner in the pieces that cut chooses.
func feed(console []byte, cut func(left int) int) []Event {
	var s Scanner
	var out []Event
	for len(console) > 0 {
		n := cut(len(console))
		out = append(out, s.Feed(console[:n])...)
		console = console[n:]
	}
	return append(out, s.Flush()...)
}

// However a console arrives, the events are the same: a message may be split over two reads anywhere.
func TestPiecesMakeNoDifference(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, g := range goldens(t) {
		want := Scan(g.console)
		if got := feed(g.console, func(int) int { return 1 }); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: byte by byte: %d events, want %d", g.path, len(got), len(want))
		}
		for range 6 {
			got := feed(g.console, func(left int) int { return 1 + r.IntN(min(left, 3000)) })
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%s: in pieces: %d events, want %d", g.path, len(got), len(want))
			}
		}
	}
}

// A serial console ends lines with CR LF, a terminal adds codes: the events are the same, but for Raw and Pos.
func TestTerminals(t *testing.T) {
	plain := func(events []Event) []Event {
		for i := range events {
			events[i].Raw, events[i].Pos = nil, 0
		}
		return events
	}
	for _, g := range goldens(t) {
		want := plain(Scan(g.console))
		crlf := bytes.ReplaceAll(g.console, []byte("\n"), []byte("\r\n"))
		if got := plain(Scan(crlf)); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: CR LF: %d events, want %d", g.path, len(got), len(want))
		}
		var coloured bytes.Buffer
		for l := range bytes.Lines(g.console) {
			coloured.WriteString("\x1b[0;1;31m\x1b[K")
			coloured.Write(bytes.TrimSuffix(l, []byte("\n")))
			coloured.WriteString("\x1b[0m\r\n")
		}
		if got := plain(Scan(coloured.Bytes())); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: with terminal codes: %d events, want %d", g.path, len(got), len(want))
		}
	}
}

// Raw is what the console said, and Pos is where.
func TestRaw(t *testing.T) {
	for _, g := range goldens(t) {
		for _, e := range Scan(g.console) {
			first, _, _ := bytes.Cut(e.Raw, []byte("\n"))
			if !bytes.HasPrefix(g.console[e.Pos:], first) {
				t.Errorf("%s: at %d there is no %q", g.path, e.Pos, first)
			}
			for l := range bytes.Lines(e.Raw) {
				if !bytes.Contains(g.console, l) {
					t.Errorf("%s: %q is not on the console", g.path, l)
				}
			}
			if text, _, _ := strings.Cut(e.Text, "\n"); !bytes.Contains(first, []byte(text)) {
				t.Errorf("%s: %q is not in the first line %q", g.path, text, first)
			}
		}
	}
}

func FuzzScanner(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, uint16(7))
	}
	f.Fuzz(func(t *testing.T, console []byte, piece uint16) {
		want := Scan(console)
		got := feed(console, func(left int) int { return min(left, int(piece)+1) })
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("in pieces of %d: %d events, want %d", int(piece)+1, len(got), len(want))
		}
		for _, e := range want {
			if e.Class == "" || e.Condition == "" || e.Text == "" || len(e.Raw) > maxRaw {
				t.Fatalf("incomplete event %+v", e)
			}
		}
	})
}
