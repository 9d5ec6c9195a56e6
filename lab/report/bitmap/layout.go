package bitmap

import (
	"strings"

	"github.com/vdevil/vdevil/lab/trial"
)

// wordBits is how many cells a row has.
const wordBits = 64

// row is one word of the structure, the most significant bit on the left as in the diagrams of OpenZFS's headers.
type row struct {
	Word  int    // from 0
	Label string // the path that all fields of the row share
	cells [wordBits]cell
	parts []rowPart // where the row has more than one field
}

// cell is one bit. Columns count from the left, so a word that the structure ends in begins with absent cells.
type cell struct {
	Bit     int
	Absent  bool          // the structure has no such bit
	Outcome trial.Outcome // empty if the bit was not flipped
}

// rowPart is a field, or as much of it as lies in the row; columns are counted from the left.
type rowPart struct {
	label string
	field string
	span
}

// Offset is that of the row's first byte.
func (r row) Offset() int { return r.Word * wordBits / 8 }

// rows lays out the map.
func (m Map) rows() []row {
	size := m.bits()
	rows := make([]row, (size+wordBits-1)/wordBits)
	for i := range rows {
		rows[i].Word = i
		for c := range rows[i].cells {
			bit := i*wordBits + wordBits - 1 - c
			rows[i].cells[c] = cell{Bit: bit, Absent: bit >= size}
		}
	}
	for _, b := range m.Bits {
		rows[b.Bit/wordBits].cells[wordBits-1-b.Bit%wordBits].Outcome = b.Outcome
	}
	fields := m.fields()
	for i := range rows {
		rows[i].name(fields)
	}
	return rows
}

// name labels a row with the fields in it.
func (r *row) name(fields []field) {
	low, high := r.Word*wordBits, r.Word*wordBits+wordBits-1
	var names []string
	for _, f := range fields {
		if f.first > high || f.last < low {
			continue
		}
		names = append(names, f.name)
		r.parts = append(r.parts, rowPart{field: f.name, span: span{high - min(f.last, high), high - max(f.first, low)}})
	}
	switch len(names) {
	case 0:
		return
	case 1:
		r.Label = names[0]
		if !strings.Contains(names[0], " ") {
			r.parts = nil
			return
		}
	}
	r.Label, _, _ = strings.Cut(common(names), " ")
	for i, name := range names {
		r.parts[i].label = after(name, r.Label)
	}
}

// same says whether all cells of the row have one outcome, or none was flipped.
func (r row) same() (trial.Outcome, bool) {
	first := r.cells[0]
	for _, c := range r.cells {
		if c.Absent || c.Outcome != first.Outcome {
			return "", false
		}
	}
	return first.Outcome, true
}

// fold is how many of the first rows may be drawn as one: rows of one field in which every bit did the same. A fold says
// what it stands for. Fewer than four rows are not worth it.
func fold(rows []row) int {
	const worth = 4
	outcome, ok := rows[0].same()
	if !ok || rows[0].parts != nil {
		return 1
	}
	n := 1
	for n < len(rows) {
		o, ok := rows[n].same()
		if !ok || o != outcome || rows[n].parts != nil || rows[n].Label != rows[0].Label {
			break
		}
		n++
	}
	if n < worth {
		return 1
	}
	return n
}

// shorten replaces the path that a row's label shares with the one above it by an ellipsis.
func shorten(label, above string) string {
	if label == "" || above == "" {
		return label
	}
	shared := common([]string{label, above})
	if i := strings.LastIndexByte(shared, '.'); !strings.HasPrefix(label[len(shared):], ".") {
		if i < 0 {
			return label
		}
		shared = shared[:i]
	}
	return "…" + label[len(shared):]
}

// fit cuts a label from the left so that it has at most n characters.
func fit(label string, n int) string {
	runes := []rune(label)
	switch {
	case len(runes) <= n:
		return label
	case n < 2:
		return ""
	}
	return "…" + string(runes[len(runes)-n+1:])
}
