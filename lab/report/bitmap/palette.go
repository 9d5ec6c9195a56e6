package bitmap

import "github.com/vdevil/vdevil/lab/trial"

// look is how an outcome is drawn: never by colour alone.
type look struct {
	glyph string
	fill  string // in documents and in the light
	ink   string // of the glyph on fill
	means string
}

const (
	lightInk = "#ffffff"
	darkInk  = "#111111"
)

// looks are those of all outcomes. The fills stay apart for readers who see red, green or blue less or not at all; a test
// computes by how much.
var looks = map[trial.Outcome]look{
	trial.Panic:    {"P", "#cf3222", lightInk, "a ZFS check fired"},
	trial.Oops:     {"O", "#6b1f5c", lightInk, "the kernel fell over elsewhere"},
	trial.Hang:     {"H", "#3b2fa3", lightInk, "no progress, no message"},
	trial.Corrupt:  {"C", "#111111", lightInk, "wrong bytes were read and ZFS reported nothing"},
	trial.Broken:   {"B", "#9600ff", lightInk, "what must hold did not"},
	trial.Latent:   {"L", "#ee8a0c", darkInk, "nothing was seen, but the disks are inconsistent"},
	trial.Warned:   {"W", "#ffe94d", darkInk, "would have panicked, had zfs_recover not been set"},
	trial.Detected: {"D", "#5bb8ee", darkInk, "ZFS reported damage that it could not repair"},
	trial.Healed:   {"+", "#0b6e55", lightInk, "ZFS reported damage and repaired it"},
	trial.Masked:   {"·", "#e3e6ea", darkInk, "no effect"},
	trial.Invalid:  {"?", "#a6a6a6", darkInk, "the lab's own trouble, or the bit was not flipped"},
}

// notRun is what is said of a bit that has no outcome.
const notRun = "not run"

// glyph is that of a cell: a space if the bit was not flipped.
func glyph(o trial.Outcome) string {
	if o == "" {
		return " "
	}
	return looks[o].glyph
}

// Look is how an outcome is drawn everywhere: a glyph, never colour alone, as #rrggbb its fill and the ink of the glyph on that, and
// what it means.
type Look struct{ Glyph, Fill, Ink, Means string }

// LookOf is the look of an outcome.
func LookOf(o trial.Outcome) Look {
	l := looks[o]
	return Look{l.glyph, l.fill, l.ink, l.means}
}
