package scenarios

import (
	"fmt"
	"math"
	"math/bits"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"
)

var sizeForm = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)$`)

// parseSize reads a whole number of KiB, MiB or GiB and gives bytes. When s is anything else the hint says what to write
// instead, or is "?" when that cannot be known.
func parseSize(s string) (size int64, hint string) {
	m := sizeForm.FindStringSubmatch(s)
	if m == nil {
		return 0, "?"
	}
	unit := ""
	if m[2] != "" {
		unit = strings.ToUpper(m[2][:1])
	}
	shift, known := map[string]int{"K": 10, "M": 20, "G": 30, "T": 40}[unit]
	switch {
	case m[2] == "":
		return 0, fmt.Sprintf("%sKiB, %sMiB or %sGiB", m[1], m[1], m[1])
	case !known:
		return 0, "?"
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil { // a fraction, or too large
		f, err := strconv.ParseFloat(m[1], 64)
		whole := f * float64(int64(1)<<shift)
		if err != nil || whole < 1024 || whole > math.MaxInt64/2 {
			return 0, "?"
		}
		return 0, formatSize(int64(whole) &^ 1023)
	}
	if n == 0 || bits.Len64(uint64(n))+shift > 62 {
		return 0, "?"
	}
	size = n << shift
	if right := m[1] + unit + "iB"; unit == "T" || s != right {
		return size, formatSize(size)
	}
	return size, ""
}

// formatSize writes bytes, a multiple of 1 KiB, the way parseSize reads them.
func formatSize(n int64) string {
	for _, u := range []struct {
		shift int
		name  string
	}{{30, "GiB"}, {20, "MiB"}} {
		if n&(1<<u.shift-1) == 0 {
			return fmt.Sprintf("%d%s", n>>u.shift, u.name)
		}
	}
	return fmt.Sprintf("%dKiB", n>>10)
}

var durationForm = regexp.MustCompile(`^([0-9]+) ?([a-z]*)$`)

// parseDuration reads a Go duration above 0. The hint is as in parseSize.
func parseDuration(s string) (t time.Duration, hint string) {
	if t, err := time.ParseDuration(s); err == nil && t > 0 {
		return t, ""
	}
	m := durationForm.FindStringSubmatch(strings.ToLower(s))
	if m == nil {
		return 0, "?"
	}
	unit, known := timeUnits[m[2]]
	if !known || strings.Trim(m[1], "0") == "" {
		return 0, "?"
	}
	return 0, m[1] + unit
}

// timeUnits are spellings that people use, and Go's.
var timeUnits = map[string]string{
	"": "s", "s": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s",
	"m": "m", "min": "m", "mins": "m", "minute": "m", "minutes": "m",
	"h": "h", "hr": "h", "hrs": "h", "hour": "h", "hours": "h",
}

// instead says what to write for a word that is none of known: the nearest one, or the whole choice.
func instead(word string, known []string) string {
	best, least := "", math.MaxInt
	for _, k := range known {
		n := levenshtein.ComputeDistance(word, k)
		if len(word) > 2 && (strings.HasPrefix(k, word) || strings.HasPrefix(word, k)) {
			n = min(n, 1)
		}
		if n < least {
			best, least = k, n
		}
	}
	switch {
	case len(known) == 0:
		return "there is none to choose from"
	case least <= max(1, (len(word)+1)/3):
		return "write " + best
	case len(known) == 1:
		return "write " + known[0]
	}
	return "write " + strings.Join(known[:len(known)-1], ", ") + " or " + known[len(known)-1]
}
