package report

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
	"github.com/vdevil/vdevil/lab/zfs/panics"
)

const (
	framesShown     = 12 // innermost frames of a stack: from the printing of the panic to the caller's caller
	injectionsShown = 2  // strikes of one trial
	bytesShown      = 16 // bytes before and after
)

// example is one trial that stands for all that ended alike.
type example struct {
	trial trial.Result
	arms  []string // in order, with how often it came in each
}

// finding says whether an outcome is one to look at: the kernel fell, or the data is wrong and nobody was told.
func finding(o trial.Outcome) bool {
	return o.Crash() || o == trial.Corrupt || o == trial.Broken || o == trial.Latent
}

// examples picks the first trial of every way in which a finding came, those of fault arms first.
func examples(r verdict.Summary) (list []*example) {
	type way struct {
		outcome   trial.Outcome
		signature string
	}
	seen := map[way]*example{}
	for _, control := range []bool{false, true} {
		for _, a := range r.Arms {
			if a.Control != control {
				continue
			}
			count := map[way]int{}
			var order []way
			for _, t := range a.Results {
				if !finding(t.Outcome) {
					continue
				}
				k := way{t.Outcome, t.Signature}
				if seen[k] == nil {
					seen[k] = &example{trial: t}
					list = append(list, seen[k])
				}
				if count[k] == 0 {
					order = append(order, k)
				}
				count[k]++
			}
			for _, k := range order {
				seen[k].arms = append(seen[k].arms, fmt.Sprintf("%s %d of %d", a.Name, count[k], a.Valid))
			}
		}
	}
	return list
}

func (e *example) title() string {
	return fmt.Sprintf("%s (%s), for example %s:", Ending(e.trial), strings.Join(e.arms, ", "), name(e.trial))
}

// Ending is the outcome with its signature.
func Ending(t trial.Result) string {
	if t.Signature == "" {
		return string(t.Outcome)
	}
	return string(t.Outcome) + " " + t.Signature
}

func name(t trial.Result) string { return fmt.Sprintf("%s/%d", t.Arm, t.Number) }

// ended says in one line how a trial went.
func ended(t trial.Result) string {
	return fmt.Sprintf("%s: %s, %.1f s", name(t), Ending(t), t.Seconds)
}

// details shows what is known of one trial, with so many of its strikes, and how to know more.
func details(b *bytes.Buffer, t trial.Result, strikes int) {
	const margin = "    "
	for _, text := range []string{t.Text, t.Reason} {
		if text != "" {
			fmt.Fprintf(b, "%s%s\n", margin, indent(brief(text), margin))
			break
		}
	}
	if e, ok := Decisive(t); ok {
		stack(b, e, margin+"  ")
	}
	for i, in := range t.Injections {
		if i == strikes {
			fmt.Fprintf(b, "%sand %d more strikes, see the bundle\n", margin, len(t.Injections)-i)
			break
		}
		injection(b, in, margin)
	}
	if t.Repeat != "" {
		fmt.Fprintf(b, "%srepeat: %s\n", margin, t.Repeat)
	}
	if t.Bundle != "" {
		fmt.Fprintf(b, "%sbundle: %s\n", margin, t.Bundle)
	}
}

// Decisive is the event that gave a trial its outcome.
func Decisive(t trial.Result) (panics.Event, bool) {
	for _, e := range t.Events {
		if e.Signature() == t.Signature && e.Text == t.Text {
			return e, true
		}
	}
	return panics.Event{}, false
}

// Stack is the thread of an event and its innermost frames, as the kernel prints them, a line each.
func Stack(e panics.Event) string {
	var b bytes.Buffer
	stack(&b, e, "")
	return strings.TrimSuffix(b.String(), "\n")
}

// stack prints the innermost frames that the unwinder passed through, as the kernel does.
func stack(b *bytes.Buffer, e panics.Event, margin string) {
	if e.Thread != "" {
		fmt.Fprintf(b, "%sthread %s, PID %d\n", margin, e.Thread, e.PID)
	}
	shown := 0
	for i, f := range e.Stack {
		if f.Unreliable {
			continue
		}
		if shown == framesShown {
			fmt.Fprintf(b, "%s... %d more\n", margin, reliable(e.Stack[i:]))
			return
		}
		shown++
		fmt.Fprintf(b, "%s%s+%#x/%#x", margin, f.Func, f.Offset, f.Size)
		if f.Module != "" {
			fmt.Fprintf(b, " [%s]", f.Module)
		}
		b.WriteByte('\n')
	}
}

func reliable(frames []panics.Frame) int {
	n := 0
	for _, f := range frames {
		if !f.Unreliable {
			n++
		}
	}
	return n
}

func injection(b *bytes.Buffer, i trial.Injection, margin string) {
	fmt.Fprintf(b, "%s%s: %s\n", margin, Struck(i), i.Target)
	fmt.Fprintf(b, "%s  when: %s\n", margin, i.Trigger)
	switch {
	case i.Phys != 0 || i.Virt != 0:
		fmt.Fprintf(b, "%s  where: guest virtual %#x, physical %#x\n", margin, i.Virt, i.Phys)
	case i.Disk != "":
		fmt.Fprintf(b, "%s  where: disk %s", margin, i.Disk)
		if len(i.Before) > 0 {
			fmt.Fprintf(b, ", offset %#x", i.Offset)
		}
		if i.File != "" {
			fmt.Fprintf(b, ", content of %s", i.File)
		}
		b.WriteByte('\n')
	}
	if !i.Withheld && len(i.Before) > 0 {
		fmt.Fprintf(b, "%s  bytes: %s -> %s\n", margin, short(i.Before), short(i.After))
	}
	if i.Effect != "" {
		fmt.Fprintf(b, "%s  effect: %s\n", margin, i.Effect)
	}
}

// Struck says in a few words what a strike did.
func Struck(i trial.Injection) string {
	switch n := i.BitsChanged(); {
	case i.Withheld:
		return i.Fault + " withheld"
	case len(i.Before) == 0: // a CPU that stood, a flush that was not done
		return i.Fault
	case n == 1:
		return i.Fault + ", 1 bit changed"
	default:
		return fmt.Sprintf("%s, %d bits changed", i.Fault, n)
	}
}

func short(p []byte) string {
	if len(p) <= bytesShown {
		return hex.EncodeToString(p)
	}
	return fmt.Sprintf("%s... (%d bytes)", hex.EncodeToString(p[:bytesShown]), len(p))
}
