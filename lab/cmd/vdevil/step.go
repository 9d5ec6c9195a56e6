package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/fault/peek"
	"github.com/vdevil/vdevil/lab/machine"
)

// stepFlags are those of step.
type stepFlags struct {
	labFlags
	at     string
	when   []string
	hit    uint
	before uint
	time   float64
}

func (a *app) stepCommand() *cobra.Command {
	var f stepFlags
	cmd := &cobra.Command{
		Use:   "step TRIAL|BUNDLE",
		Short: "Stop a repeat of a trial just before its panic, and look around",
		Long: `Step repeats a trial whose guest counts its time (clock: icount, or run --exact), which is the same to the byte in every repeat, and stops
it at an instruction: where the first message of trouble is about to be printed, so many instructions before, at an instant of the guest's
time, or at a place. --at without --hit is the last arrival before that message by the thread that prints it; the arrivals are counted in
a repeat of their own. The machine stands there and can be looked into from outside; the guest has no part in it, and is thrown away at the end.

Commands are read from the standard input, a line each:
  peek [TARGET]   what of ZFS is in memory, as vdevil peek shows it: everything by kind, a class, or a path
  step [N]        executes N instructions, 1 if none is given, without interrupts
  registers       those of the CPU
  quit            ends, as the end of the input does`,
		Example: `  vdevil step tonight/blkptr-dva-flip/flip/3
  vdevil step tonight/blkptr-dva-flip/flip/3 --before 5000
  vdevil step tonight/legacy-dedup-gang/legacy/1 --at metaslab_free_concrete
  echo 'peek bp' | vdevil step ./bundle --at zio_free_sync --hit 14`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.step(cmd.Context(), f, args[0]) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.at, "at", "", "`PLACE` in the kernel's code: a function, an instruction of it like space_map_write+0x12, or an address")
	flags.UintVar(&f.hit, "hit", 0, "the arrival there, from 1 (default: the last one before the trouble)")
	flags.StringArrayVar(&f.when, "when", nil, "`PATH=VALUE` that must hold at the function for an arrival to count; may be given several times")
	flags.UintVar(&f.before, "before", 0, "so many `N` instructions before the trouble, to fifty of them")
	flags.Float64Var(&f.time, "time", 0, "`SECONDS` of the guest's time, to ten nanoseconds; five instructions take as long")
	cmd.MarkFlagsMutuallyExclusive("at", "before", "time")
	f.add(flags)
	return cmd
}

// trigger is where to stop.
func (f *stepFlags) trigger() (t fault.Trigger, err error) {
	if f.at == "" {
		if f.hit > 0 || len(f.when) > 0 {
			err = usage(errors.New("--hit and --when need a place in --at"))
		}
		return t, err
	}
	if t, err = fault.ParseTrigger(f.at); err != nil || t.At == "" {
		return t, usage(fmt.Errorf("--at: %q is no place in code; write a function, an instruction of it like space_map_write+0x12, or an address", f.at))
	}
	t.Hit = int(f.hit)
	when, err := conditions(f.when)
	for path, value := range when {
		t.When = append(t.When, fault.Condition{Path: path, Value: value})
	}
	slices.SortFunc(t.When, func(a, b fault.Condition) int { return strings.Compare(a.Path, b.Path) })
	return t, err
}

func (a *app) step(ctx context.Context, f stepFlags, word string) error {
	at, err := f.trigger()
	if err != nil {
		return err
	}
	if f.time < 0 {
		return usage(fmt.Errorf("--time: %v s is before the guest began", f.time))
	}
	b, err := a.recall(ctx, word)
	if err != nil {
		return err
	}
	l, view, err := a.openFor(ctx, &f.labFlags, b.spec, false)
	if err != nil {
		return err
	}
	to := lab.Stop{At: at, Before: int(f.before), Time: time.Duration(math.Round(f.time * float64(time.Second)))}
	err = l.Step(ctx, b.spec, b.result, to, view.note, func(s lab.Stopped) error {
		view.close()
		return a.lookAround(ctx, s)
	})
	view.close()
	return interrupted(ctx, errors.Join(err, l.Close()))
}

// lookAround tells where the machine stands and does what is asked for.
func (a *app) lookAround(ctx context.Context, s lab.Stopped) error {
	if err := a.place(s); err != nil {
		return err
	}
	in := bufio.NewScanner(&answers{ctx, a.in})
	_, asking := terminal(a.out)
	for {
		if asking {
			_, _ = fmt.Fprint(a.out, "step> ") // an answer tells of trouble
		}
		if !in.Scan() {
			return in.Err()
		}
		word, rest, _ := strings.Cut(strings.TrimSpace(in.Text()), " ")
		if word == "quit" {
			return nil
		}
		if err := a.lookCommand(ctx, &s, word, strings.TrimSpace(rest)); ctx.Err() != nil {
			return context.Cause(ctx)
		} else if err != nil {
			_, _ = fmt.Fprintln(a.out, err)
		}
	}
}

func (a *app) lookCommand(ctx context.Context, s *lab.Stopped, word, rest string) error {
	switch word {
	case "":
		return nil
	case "peek":
		seen, err := peek.At(ctx, s.Moment, rest)
		if err != nil {
			return err
		}
		return columns(a.out, peekText(seen))
	case "registers":
		return columns(a.out, registersText(s.Registers))
	case "step":
		if err := stepOn(ctx, s, rest); err != nil {
			return err
		}
		return a.place(*s)
	}
	return fmt.Errorf("there is no command %q; write peek, step, registers or quit", word)
}

// stepOn executes instructions, after which the moment is another one.
func stepOn(ctx context.Context, s *lab.Stopped, count string) error {
	n, err := strconv.Atoi(cmp.Or(count, "1"))
	if err != nil || n < 1 {
		return fmt.Errorf("%q is no number of instructions", count)
	}
	cpu, can := s.Debugger.(machine.Stepper)
	if !can {
		return errors.New("this machine does not execute single instructions")
	}
	if err := cpu.Step(ctx, n); err != nil {
		return err
	}
	if s.Registers, err = s.Debugger.Registers(ctx, s.CPU); err != nil {
		return err
	}
	s.Func, s.Scope.Frame = nil, nil // the arguments are known at its entry only
	s.Place = fmt.Sprintf("%#x", s.Registers.RIP)
	if s.Time > 0 {
		s.Time += time.Duration(n) * machine.Instruction
	}
	return nil
}

// place tells where the machine stands.
func (a *app) place(s lab.Stopped) error {
	var text strings.Builder
	fmt.Fprintf(&text, "at %s", s.Place)
	if s.Func != nil {
		fmt.Fprintf(&text, " (%#x), arrival %d", s.Registers.RIP, s.Hit)
	}
	if s.Time > 0 {
		fmt.Fprintf(&text, ", at %.9f s of the guest's time\n", s.Time.Seconds())
	} else {
		fmt.Fprintf(&text, ", before %.8f s of the guest's time, when its next timer is due\n", s.Next.Seconds())
	}
	if s.Func != nil {
		arguments := s.Record("").Arguments
		for _, p := range s.Func.Params {
			fmt.Fprintf(&text, "  %s\t%s\n", p.Name, cmp.Or(arguments[p.Name], "not known"))
		}
	}
	return columns(a.out, text.String())
}

func registersText(r machine.Registers) string {
	var b strings.Builder
	for i, one := range []struct {
		name  string
		value uint64
	}{
		{"rax", r.RAX}, {"rbx", r.RBX}, {"rcx", r.RCX}, {"rdx", r.RDX}, {"rsi", r.RSI}, {"rdi", r.RDI}, {"rbp", r.RBP}, {"rsp", r.RSP},
		{"r8", r.R8}, {"r9", r.R9}, {"r10", r.R10}, {"r11", r.R11}, {"r12", r.R12}, {"r13", r.R13}, {"r14", r.R14}, {"r15", r.R15}, {"rip", r.RIP},
	} {
		fmt.Fprintf(&b, "%s\t%#016x%s", one.name, one.value, []string{"\t", "\n"}[i%2])
	}
	return b.String() + "\n"
}
