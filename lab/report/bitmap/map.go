// Package bitmap draws an atlas: what happened when each bit of one structure was flipped, one at a time, as a map of the
// structure. It defines the map; what an outcome is, is package trial's business.
package bitmap

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/vdevil/vdevil/lab/trial"
)

// Map is the atlas of one structure: what happened when each of its bits was flipped, each in a fork of its own from the
// same instant. As JSON it is what `vdevil atlas --json` prints; keys may be added in later versions.
type Map struct {
	Target   string    `json:"target"`  // path of the structure, e.g. "blkptr.blk_dva[0]"
	Trigger  string    `json:"trigger"` // when the bits were flipped, e.g. "zio_free_sync"
	OpenZFS  string    `json:"openzfs"`
	Bits     []Bit     `json:"bits"`
	Controls []Control `json:"controls"`

	Type string `json:"type,omitempty"` // the structure's C type
	// Size of the structure in bits; 0 means that it ends with its highest bit in Bits.
	Size     int    `json:"size,omitempty"`
	Scenario string `json:"scenario,omitempty"`
	Seed     uint64 `json:"seed,omitempty"`
	VDevil   string `json:"vdevil,omitempty"` // version of the lab
	// Started is when the atlas was begun, Seconds how long it took altogether.
	Started time.Time `json:"started,omitzero"`
	Seconds float64   `json:"seconds,omitempty"`
	Accel   string    `json:"accel,omitempty"` // kvm or tcg
	// Repeat is the command that makes this atlas again, without --bits.
	Repeat string `json:"repeat,omitempty"`
}

// Bit is the trial of one bit.
type Bit struct {
	// Bit counts from the structure's first byte, least significant bit first: bit n is bit n%8 of byte n/8, and so bit
	// n%64 of the little-endian word n/64.
	Bit int `json:"bit"`
	// Field is the C path of the member that holds the bit; where OpenZFS packs several values into one word, a space and
	// the value's name follow, as FieldName makes them.
	Field string `json:"field"`
	// Outcome is empty for a bit whose field is known but that was not flipped.
	Outcome   trial.Outcome `json:"outcome"`
	Signature string        `json:"signature"`
	// Text is the raw message that decided.
	Text    string  `json:"text"`
	Seconds float64 `json:"seconds"`
}

// Control is a trial like the others, but without a flip.
type Control struct {
	Outcome   trial.Outcome `json:"outcome"`
	Signature string        `json:"signature"`
	Text      string        `json:"text"`
	Seconds   float64       `json:"seconds"`
}

// WriteJSON writes the map, indented. Lists are there even when they are empty, never null.
func (m Map) WriteJSON(w io.Writer) error {
	m.Bits = append([]Bit{}, m.Bits...)
	m.Controls = append([]Control{}, m.Controls...)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false) // messages of the kernel are full of "->"
	enc.SetIndent("", "  ")
	return enc.Encode(m)
}

// bits is the size of the structure in bits.
func (m Map) bits() int {
	size := m.Size
	for _, b := range m.Bits {
		size = max(size, b.Bit+1)
	}
	return size
}

// alarm says whether a control did anything: then the bits alone prove nothing.
func (m Map) alarm() bool { return m.controlTally()[trial.Masked] < len(m.Controls) }

// run are the bits that were flipped, in order.
func (m Map) run() []Bit {
	out := slices.DeleteFunc(slices.Clone(m.Bits), func(b Bit) bool { return b.Outcome == "" })
	slices.SortFunc(out, func(a, b Bit) int { return a.Bit - b.Bit })
	return out
}

// tally counts outcomes.
type tally map[trial.Outcome]int

func (m Map) tally() tally {
	t := tally{}
	for _, b := range m.run() {
		t[b.Outcome]++
	}
	return t
}

func (m Map) controlTally() tally {
	t := tally{}
	for _, c := range m.Controls {
		t[c.Outcome]++
	}
	return t
}

// outcomes are those that occurred, worst first.
func (t tally) outcomes() []trial.Outcome {
	return slices.DeleteFunc(trial.Outcomes(), func(o trial.Outcome) bool { return t[o] == 0 })
}

// String is e.g. "panic 12, masked 52".
func (t tally) String() string {
	list := t.outcomes()
	if len(list) == 0 {
		return "none"
	}
	words := make([]string, len(list))
	for i, o := range list {
		words[i] = fmt.Sprintf("%s %d", o, t[o])
	}
	return strings.Join(words, ", ")
}

// signature is what several bits did in the same way.
type signature struct {
	Name    string
	Outcome trial.Outcome
	Text    string // of the first bit
	Bits    []int
}

// signatures lists each distinct signature, the most frequent first.
func (m Map) signatures() []signature {
	var list []signature
	for _, b := range m.run() {
		if b.Signature == "" {
			continue
		}
		i := slices.IndexFunc(list, func(s signature) bool { return s.Name == b.Signature && s.Outcome == b.Outcome })
		if i < 0 {
			list = append(list, signature{Name: b.Signature, Outcome: b.Outcome, Text: b.Text})
			i = len(list) - 1
		}
		list[i].Bits = append(list[i].Bits, b.Bit)
	}
	slices.SortStableFunc(list, func(a, b signature) int { return len(b.Bits) - len(a.Bits) })
	return list
}

// ranges writes ascending numbers short: "0-3, 7".
func ranges(n []int) string {
	var list []string
	for i := 0; i < len(n); {
		j := i
		for j+1 < len(n) && n[j+1] == n[j]+1 {
			j++
		}
		list = append(list, span{first: n[i], last: n[j]}.String())
		i = j + 1
	}
	return strings.Join(list, ", ")
}

// headline says in one line what was flipped, when, and in which OpenZFS.
func (m Map) headline() string {
	return fmt.Sprintf("%s at %s, OpenZFS %s", m.Target, m.Trigger, m.OpenZFS)
}

// facts say under the headline how the map was made.
func (m Map) facts() string {
	size, n := m.bits(), len(m.run())
	how := fmt.Sprintf("%d bits, a fork each", n)
	if n != size {
		how = fmt.Sprintf("%d of %d bits, a fork each", n, size)
	}
	list := []string{how}
	if m.Type != "" {
		list = append([]string{m.Type}, list...)
	}
	if m.Accel != "" {
		list = append(list, strings.ToUpper(m.Accel))
	}
	if m.Seed != 0 {
		list = append(list, fmt.Sprintf("seed %d", m.Seed))
	}
	if !m.Started.IsZero() {
		list = append(list, m.Started.UTC().Format(time.DateOnly))
	}
	return strings.Join(list, ", ")
}

// controls says in one line what the forks without a flip did.
func (m Map) controls() string {
	if len(m.Controls) == 0 {
		return "no controls"
	}
	word := "controls"
	if len(m.Controls) == 1 {
		word = "control"
	}
	return fmt.Sprintf("%d %s without a flip: %s", len(m.Controls), word, m.controlTally())
}
