package report

import (
	"fmt"
	"strings"
	"time"
)

// FirstLine is that of a text.
func FirstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// Seconds is a duration as results have it.
func Seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// Clock is a duration as a person says it: 0.4s, 12.0s, 3m05s, 1h02m.
func Clock(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Truncate(100*time.Millisecond).Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
}
