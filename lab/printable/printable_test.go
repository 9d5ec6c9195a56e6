package printable_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/vdevil/vdevil/lab/printable"
)

func TestLine(t *testing.T) {
	for text, want := range map[string]string{
		"tank/home@daily": "tank/home@daily",
		"größe 大きさ\u3000размер ☃ 👾": "größe 大きさ\u3000размер ☃ 👾",
		"\x1b[2Jgone":                  `\u001b[2Jgone`,
		"two\nlines\r\nand\ta tab\x00": `two\nlines\r\nand\ta tab\u0000`,
		"\u009b31m":                    `\u009b31m`, // CSI in one character
		"\u202egnp.exe":                `\u202egnp.exe`,
		"zero\u200bwidth":              `zero\u200bwidth`,
		"tag\U000e0001":                `tag\udb40\udc01`,
		"\x80\xff\xe2\x80":             `\x80\xff\xe2\x80`,
		"replaced: \ufffd":             "replaced: \ufffd",
		`C:\users`:                     `C:\users`,
		"":                             "",
	} {
		got := printable.Line(text)
		if got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
		if again := printable.Line(got); again != got {
			t.Errorf("%q escaped twice is %q", text, again)
		}
	}
	if got := printable.Text("a\tb\r\nc\rd\x07\n"); got != "a\tb\nc\\rd\\u0007\n" {
		t.Errorf("%q", got)
	}
}

// A document of JSON has the same content behind a Writer.
func TestJSON(t *testing.T) {
	name := "\x1b]0;\u009b\x7f\u202e\U000e0001\n\t\"\\"
	doc, err := json.Marshal([]string{name})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := printable.NewWriter(&out).Write(doc); err != nil {
		t.Fatal(err)
	}
	var back []string
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || len(back) != 1 || back[0] != name {
		t.Errorf("%s: %q, %v", out.Bytes(), back, err)
	}
	if strings.ContainsFunc(out.String(), func(r rune) bool { return r < ' ' || r >= 0x7f }) {
		t.Errorf("%q", out.String())
	}
}

// Where a text is cut into writes does not matter.
func FuzzWriter(f *testing.F) {
	f.Add("größe\x1b[0m\r\n大\xff\r", 3)
	f.Add("\xe2\x80", 1)
	f.Fuzz(func(t *testing.T, text string, cut int) {
		text += "." // ends what is incomplete
		cut = min(max(cut, 0), len(text))
		var out bytes.Buffer
		w := printable.NewWriter(&out)
		for _, part := range []string{text[:cut], text[cut:]} {
			if n, err := fmt.Fprint(w, part); n != len(part) || err != nil {
				t.Fatalf("%d of %d bytes, %v", n, len(part), err)
			}
		}
		got := out.String()
		if want := printable.Text(text); got != want {
			t.Errorf("%q cut at %d is %q, want %q", text, cut, got, want)
		}
		if !utf8.ValidString(got) || strings.ContainsAny(got, "\x1b\r\x07\u009b") {
			t.Errorf("%q leaves as %q", text, got)
		}
	})
}
