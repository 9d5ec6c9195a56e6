package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/trial"
)

// tracing is what code a machine comes to.
type tracing struct {
	stop func(context.Context) error
	seen map[uint64]bool // addresses, which the machine alone writes to until stop has returned
}

// moduleSpace is where Linux has its modules: what lies below is no code of theirs (Documentation/arch/x86/x86_64/mm.rst).
const moduleSpace = 0xffffffffa0000000

// follow begins to note what code a machine comes to, if that was asked for.
func (t *run) follow(ctx context.Context, m machine.Machine) (*tracing, error) {
	if !t.code {
		return nil, nil
	}
	tracer, ok := m.(machine.CodeTracer)
	if !ok {
		return nil, errors.New("the machine does not tell what code its guest comes to")
	}
	c := &tracing{seen: map[uint64]bool{}}
	var err error
	c.stop, err = tracer.TraceCode(ctx, func(addr uint64) {
		if addr >= moduleSpace {
			c.seen[addr] = true
		}
	})
	return c, err
}

// codeLimit is what it takes at most, on the reference host, to have read what a machine has told.
const codeLimit = 10 * time.Second

// reached says to what functions all machines of the trial have come.
func (t *run) reached(ctx context.Context) (*trial.Code, error) {
	ctx, stop := context.WithTimeout(ctx, t.scale.Limit(codeLimit))
	defer stop()
	names := map[string]bool{}
	code := &trial.Code{}
	for _, l := range t.all() {
		if err := l.tracing.stop(ctx); err != nil {
			return nil, err
		}
		modules, layout, err := t.bench.Checkpoints.Code(ctx, l.image, l.fork)
		if err != nil {
			return nil, err
		}
		here, err := modules.Reached(layout, slices.Collect(maps.Keys(l.tracing.seen)))
		if err != nil {
			return nil, fmt.Errorf("functions of OpenZFS %s: %w", l.image.OpenZFS, err)
		}
		for _, name := range here {
			names[name] = true
		}
		code.Functions = max(code.Functions, modules.Functions())
	}
	code.First = slices.Sorted(maps.Keys(names))
	code.Reached = len(code.First)
	return code, nil
}
