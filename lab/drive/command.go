package drive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/scenarios"
)

// BrokenError says that what the scenario states must hold did not. That is a result, not trouble.
type BrokenError struct{ Reason string }

func (b *BrokenError) Error() string { return b.Reason }

// must judges a command that must succeed, mustFail one that must be refused.
func must(err error) error {
	if answered(err) {
		return &BrokenError{"this must succeed: " + err.Error()}
	}
	return err
}

func mustFail(command string, err error) error {
	switch {
	case err == nil:
		return &BrokenError{"this must fail and did not: " + command}
	case answered(err):
		return nil
	}
	return err
}

// answered says that a program ran and refused. The shell has statuses of its own, from 126 on, for one that did not run or
// that a signal ended: of what was asked they say nothing.
func answered(err error) bool {
	var exit *guest.ExitError
	return errors.As(err, &exit) && exit.Status > 0 && exit.Status < 126
}

// shell does the steps that are a command of the shell.
func (w *Worker) shell(ctx context.Context, s scenarios.Step) error {
	switch {
	case s.Must != "":
		return must(w.command(ctx, s, s.Must))
	case s.MustFail != "":
		return mustFail(s.MustFail, w.command(ctx, s, s.MustFail))
	default:
		return w.command(ctx, s, s.Run)
	}
}

// command runs a command of the scenario and keeps what it prints.
func (w *Worker) command(ctx context.Context, s scenarios.Step, command string) error {
	w.output.note("step " + s.String())
	out, errs := w.output.printer(), w.output.printer()
	err := w.Guest.RunShown(ctx, w.variables()+command, out, errs)
	out.end()
	errs.end()
	var exit *guest.ExitError
	if errors.As(err, &exit) {
		exit.Command = command // as the scenario has it
	}
	if err != nil {
		w.output.note(err.Error())
	}
	return err
}

// variables gives the shell each disk under its name, with _ for a dash, which names of variables cannot have.
func (w *Worker) variables() (text string) {
	for _, disk := range w.Disks {
		text += strings.ReplaceAll(disk, "-", "_") + "=" + guest.DiskPath(disk) + "; "
	}
	return text
}

// transcript is what the commands of a scenario printed, each line with the time since the trial began, in seconds. Its zero
// value is ready. Much is cut: the end is in the errors.
type transcript struct {
	mu    sync.Mutex
	began time.Time
	text  bytes.Buffer
}

// maxOutput is how much of it is kept, in bytes.
const maxOutput = 1 << 20

func (t *transcript) note(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.began.IsZero() {
		t.began = time.Now()
	}
	text := fmt.Sprintf("%9.3f %s\n", time.Since(t.began).Seconds(), line)
	t.text.WriteString(text[:min(len(text), maxOutput-t.text.Len())])
}

func (t *transcript) bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Clone(t.text.Bytes())
}

// printer takes one stream of what a command prints, in pieces of any size.
func (t *transcript) printer() *printer { return &printer{to: t} }

type printer struct {
	to   *transcript
	mu   sync.Mutex
	rest []byte
}

// end notes a last line without its end.
func (p *printer) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.rest) > 0 {
		p.to.note("  " + string(p.rest))
		p.rest = nil
	}
}

func (p *printer) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rest = append(p.rest, text...)
	for {
		line, rest, whole := bytes.Cut(p.rest, []byte("\n"))
		if !whole {
			return len(text), nil
		}
		p.to.note("  " + string(line))
		p.rest = bytes.Clone(rest)
	}
}
