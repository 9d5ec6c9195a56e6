package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/vdevil/vdevil/lab/trial"
)

// Study is what the states show in which a power cut could have left a workload's disks. As JSON it is what `vdevil crash --json`
// prints; keys may be added in later versions.
type Study struct {
	// Run is the campaign's name, for reports.
	Run      string `json:"-"`
	Scenario string `json:"scenario"`
	Arm      string `json:"arm"`
	OpenZFS  string `json:"openzfs"`
	Seed     uint64 `json:"seed"`
	// Lying says that a flush was worth nothing, Flush the same in words.
	Lying bool   `json:"lying"`
	Flush string `json:"flush"`
	// Writes, Flushes and Bytes are what the workload did to the disks, Promised how many files it wrote with fsync.
	Writes        int     `json:"writes"`
	Flushes       int     `json:"flushes"`
	Bytes         int64   `json:"bytes"`
	Promised      int     `json:"promised"`
	RecordSeconds float64 `json:"record_seconds"`
	// Planned is how many states were to be judged. There are fewer when the study ended early.
	Planned int `json:"planned"`
	// States are in the order of their numbers.
	States []trial.Result `json:"states"`
}

// WriteJSON writes the study, indented.
func (s Study) WriteJSON(w io.Writer) error {
	s.States = append([]trial.Result{}, s.States...)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(s)
}

// Count counts the states for which want holds, of those that are valid.
func (s Study) Count(want func(trial.Result) bool) (n int) {
	for _, r := range s.States {
		if r.Outcome != trial.Invalid && want(r) {
			n++
		}
	}
	return n
}

// Lost says that a state shows more than what a cut may take: it is inconsistent, or breaks a promise.
func Lost(r trial.Result) bool { return r.Inconsistent() || len(r.State.Broken) > 0 }

// Table counts the states by kind.
func (s Study) Table(w io.Writer) error {
	var b bytes.Buffer
	rows := s.Rows()
	for i, title := range rows[0] {
		rows[0][i] = strings.ToUpper(title)
	}
	align(&b, rows)
	if missing := s.Planned - len(s.States); missing > 0 {
		fmt.Fprintf(&b, "\nthe study ended early: %d of %d states were not judged\n", missing, s.Planned)
	}
	s.notAudited(&b)
	fmt.Fprintf(&b, "\n%s\n", s.Said())
	_, err := b.WriteTo(w)
	return err
}

// Said is what the states are of, in a sentence.
func (s Study) Said() string {
	return fmt.Sprintf("%s on OpenZFS %s, %s: %d writes of %d MiB, %d flushes, %d files promised; recorded in %s, judged in %s",
		s.Scenario, s.OpenZFS, s.Flush, s.Writes, s.Bytes>>20, s.Flushes, s.Promised, took(s.RecordSeconds), took(s.judging()))
}

// Rows are the states counted by kind, under a row of titles.
func (s Study) Rows() [][]string {
	rows := make([][]string, 0, 5)
	rows = append(rows, []string{"states", "number", "consistent", "audit", "not audited", "no import", "panic", "damaged", "promises", "broken in", "invalid"})
	for _, kind := range []string{"boundary", "subset", "torn", ""} {
		rows = append(rows, s.row(kind))
	}
	return rows
}

// row counts the states of a kind, or all.
func (s Study) row(kind string) []string {
	of := func(want func(trial.Result) bool) int {
		return s.Count(func(r trial.Result) bool { return (kind == "" || r.State.Kind == kind) && want(r) })
	}
	number, promises := 0, 0
	for _, r := range s.States {
		if kind == "" || r.State.Kind == kind {
			number++
			promises += r.State.Promises
		}
	}
	name := kind
	if kind == "" {
		name = "all"
	}
	numbers := []int{
		number,
		of(func(r trial.Result) bool { return !r.Inconsistent() }),
		of(func(r trial.Result) bool { return len(r.Audit)+len(r.State.After) > 0 || r.State.Unreadable != "" }),
		of(func(r trial.Result) bool { return r.NotAudited != "" }),
		of(func(r trial.Result) bool { return r.State.ReadWrite+r.State.ReadOnly != "" }),
		of(func(r trial.Result) bool { return r.Outcome.Crash() || r.Signature != "" }),
		of(func(r trial.Result) bool { return len(r.State.Damaged) > 0 }),
		promises,
		of(func(r trial.Result) bool { return len(r.State.Broken) > 0 }),
		number - of(func(trial.Result) bool { return true }),
	}
	row := make([]string, 1, 1+len(numbers))
	row[0] = name
	for _, n := range numbers {
		row = append(row, strconv.Itoa(n))
	}
	return row
}

// judging is the time from the first trial to the end of the last, in seconds.
func (s Study) judging() float64 {
	var first, last time.Time
	for _, r := range s.States {
		if first.IsZero() || r.Started.Before(first) {
			first = r.Started
		}
		if end := r.Started.Add(time.Duration(r.Seconds * float64(time.Second))); end.After(last) {
			last = end
		}
	}
	return last.Sub(first).Seconds()
}

// notAudited says why states were not, and what zdb says of them, which is shown for the first of each kind.
func (s Study) notAudited(b *bytes.Buffer) {
	var order []string
	number := map[string]int{}
	first := map[string]trial.Result{}
	for _, r := range s.States {
		if r.NotAudited == "" {
			continue
		}
		if number[r.NotAudited]++; number[r.NotAudited] == 1 {
			first[r.NotAudited], order = r, append(order, r.NotAudited)
		}
	}
	for _, why := range order {
		said := "zdb finds nothing"
		if zdb := first[why].ZDB; len(zdb) > 0 {
			said = fmt.Sprintf("zdb finds %d, first %s", len(zdb), zdb[0])
		}
		fmt.Fprintf(b, "\n%d not audited: %s; of state %d %s\n", number[why], why, first[why].Number, said)
	}
}

// took is a duration for people.
func took(seconds float64) string {
	return (time.Duration(seconds*10) * 100 * time.Millisecond).String()
}
