package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/vdevil/vdevil/lab/printable"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/zfs/panics"
)

// Trial writes all that is known of one trial.
func Trial(w io.Writer, s trial.Spec, r trial.Result, e trial.Environment) error {
	var b bytes.Buffer
	role := "fault arm"
	if r.Control {
		role = "control arm"
	}
	fmt.Fprintf(&b, "%s: %s\n%s, seed %d\n\n", s.Title(), Ending(r), role, s.Seed)
	details(&b, r, len(r.Injections))
	if e, ok := Decisive(r); ok {
		console(&b, e)
	}
	for _, part := range []struct {
		title string
		lines []string
	}{
		{"found on the disks", r.Audit}, {"zdb says", r.ZDB}, {"panics that had to come", r.Survived},
	} {
		bullets(&b, part.title, part.lines)
	}
	if r.NotAudited != "" {
		fmt.Fprintf(&b, "\n  the disks were not audited: %s\n", r.NotAudited)
	}
	if r.State != nil {
		cut(&b, r.State)
	}
	if r.LastStep != "" {
		fmt.Fprintf(&b, "\n  last step: %s\n", r.LastStep)
	}
	for _, work := range r.Workload {
		fmt.Fprintf(&b, "  %s: %d writes, %d snapshots, %d destroyed, %d runs\n", work.Step, work.Writes, work.Snapshots, work.Destroyed, work.Runs)
	}
	spans := make([]string, len(r.Spans))
	for i, span := range r.Spans {
		spans[i] = fmt.Sprintf("%s %.1f s", span.Name, span.Seconds)
	}
	fmt.Fprintf(&b, "\n  begun %s, took %.1f s\n", r.Started.UTC().Format("2006-01-02 15:04:05 UTC"), r.Seconds)
	if len(spans) > 0 {
		fmt.Fprintf(&b, "  %s\n", strings.Join(spans, ", "))
	}
	fmt.Fprintf(&b, "  vdevil %s, %s with %s, image %s, %s\n  spec %s\n", e.Version, s.Driver, strings.ToUpper(s.Accel), s.Image, e.Host, s.ID())
	if r.Exact != nil {
		fmt.Fprintf(&b, "  all of it to the byte: %s, from checkpoint %s\n", r.Exact.SHA256[:min(16, len(r.Exact.SHA256))], r.Exact.Checkpoint)
	}
	for _, f := range r.Evidence {
		fmt.Fprintf(&b, "    %s  %s, %d bytes\n", f.SHA256[:min(16, len(f.SHA256))], f.Name, f.Size)
	}
	_, err := b.WriteTo(w)
	return err
}

// linesShown is how much of the console is shown of an event.
const linesShown = 60

// console shows an event as the guest printed it.
func console(b *bytes.Buffer, e panics.Event) {
	lines := strings.Split(strings.TrimRight(printable.Text(string(e.Raw)), "\n"), "\n")
	if len(e.Raw) == 0 {
		return
	}
	fmt.Fprintf(b, "\n  on the console, from byte %d on:\n", e.Pos)
	for i, line := range lines {
		if i == linesShown {
			fmt.Fprintf(b, "    ... %d lines more\n", len(lines)-i)
			break
		}
		fmt.Fprintf(b, "    %s\n", strings.TrimRight(line, "\r"))
	}
}

// cut says what a power cut has left, and what became of it.
func cut(b *bytes.Buffer, s *trial.State) {
	fmt.Fprintf(b, "\n  %s\n", CutSaid(s))
	for _, line := range []struct{ what, why string }{
		{"cannot be audited", s.Unreadable}, {"read-only import", s.ReadOnly}, {"import", s.ReadWrite},
	} {
		if line.why != "" {
			fmt.Fprintf(b, "  %s: %s\n", line.what, indent(line.why, "    "))
		}
	}
	fmt.Fprintf(b, "  %d files were promised, %d are not as promised\n", s.Promises, len(s.Broken))
	bullets(b, "found on the disks after the import", s.After)
	bullets(b, "the pool names", s.Damaged)
}

// CutSaid says in a line what a power cut has left.
func CutSaid(s *trial.State) string {
	return fmt.Sprintf("%s: the power is cut after %d requests; of %d writes that were not flushed %d are there", s.Kind, s.At, s.Unflushed, s.Kept)
}
