// Package cpu holds faults of the guest's processors: what a core computes wrong and nobody notices.
package cpu

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/trial"
)

// Flip flips one bit of a register when a CPU arrives at a place in code: of an argument at the entry of a function, or of
// what an instruction has computed when the CPU arrives at the next one.
type Flip struct {
	Trigger fault.Trigger
	// Argument is the parameter whose register is hit. If it is empty, Register names one, like "rdx".
	Argument, Register string
	// Bit is counted from the least significant one.
	Bit int
}

// Name is "register".
func (Flip) Name() string { return "register" }

// Arm sets the code trigger.
func (f Flip) Arm(ctx context.Context, s fault.Site) (fault.Strike, error) {
	if f.Trigger.At == "" {
		return nil, fmt.Errorf("a register is hit at a place in code, not at %s", f.Trigger)
	}
	armed, err := f.Trigger.Arm(ctx, s)
	if err != nil {
		return nil, err
	}
	return once(armed, f.strike), nil
}

// waiting is a trigger in place.
type waiting interface {
	Wait(ctx context.Context) (*fault.Moment, error)
}

// once strikes when a trigger has fired, and lets go of the machine.
func once(armed waiting, strike func(context.Context, *fault.Moment) (trial.Injection, error)) fault.Strike {
	return func(ctx context.Context) (done []trial.Injection, err error) {
		m, err := armed.Wait(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, m.Release(ctx)) }()
		i, err := strike(ctx, m)
		if err != nil {
			return nil, err
		}
		return []trial.Injection{i}, nil
	}
}

func (f Flip) strike(ctx context.Context, m *fault.Moment) (trial.Injection, error) {
	name, width, err := f.register(m)
	if err != nil {
		return trial.Injection{}, err
	}
	if f.Bit >= width {
		return trial.Injection{}, fmt.Errorf("no bit %d: %s has %d", f.Bit, name, width)
	}
	regs := m.Registers
	r, err := find(&regs, name)
	if err != nil {
		return trial.Injection{}, err
	}
	i := m.Record(f.Name())
	i.Target = fmt.Sprintf("%s bit %d at %s", name, f.Bit, f.Trigger.At)
	if f.Argument != "" {
		i.Target = fmt.Sprintf("%s(%s) in %s bit %d", f.Trigger.At, f.Argument, name, f.Bit)
	}
	i.Before = word(*r)
	*r ^= 1 << f.Bit
	i.After = word(*r)
	if i.Withheld {
		i.Effect = fmt.Sprintf("none: withheld, %#x would have been in %s", *r, name)
		i.After = i.Before
		return i, nil
	}
	i.Effect = fmt.Sprintf("CPU %d has %#x in %s", m.CPU, *r, name)
	return i, m.Debugger.SetRegisters(ctx, m.CPU, regs)
}

// arguments are the registers of the first integers and pointers (System V ABI of x86-64).
var arguments = [...]string{"rdi", "rsi", "rdx", "rcx", "r8", "r9"}

// register is the one to hit, and how many of its bits have a meaning.
func (f Flip) register(m *fault.Moment) (name string, width int, err error) {
	if f.Argument == "" {
		return f.Register, 64, nil
	}
	if m.Func == nil {
		return "", 0, fmt.Errorf("%s is not the entry of a function whose arguments are known; write register in place of argument", f.Trigger.At)
	}
	v := m.Scope.ZFS.View().Arg(*m.Scope.Frame, f.Argument)
	if v.Err() != nil {
		return "", 0, v.Err()
	}
	for i, p := range m.Func.Params {
		if p.Name == f.Argument && i < len(arguments) {
			return arguments[i], 8 * p.Type.Size(), nil
		}
	}
	return "", 0, fmt.Errorf("argument %s of %s is on the stack; write the fault memory with target %s", f.Argument, m.Func.Name, f.Argument)
}

// find is the place of a register by its name in lower case.
func find(r *machine.Registers, name string) (*uint64, error) {
	v := reflect.ValueOf(r).Elem()
	if f := v.FieldByName(strings.ToUpper(name)); f.IsValid() && name == strings.ToLower(name) {
		return f.Addr().Interface().(*uint64), nil
	}
	return nil, fmt.Errorf("no register %s; there are those of a general purpose, like rdx, and rip", name)
}

// word is a register as people write it, the most significant byte first.
func word(r uint64) []byte {
	return binary.BigEndian.AppendUint64(nil, r)
}
