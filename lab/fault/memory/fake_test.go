package memory

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/zfs/core"
)

// Where the fake machine has its memory. The pages at apart and behind it lie in the opposite order in physical memory.
const (
	direct = 0xffff888000000000
	apart  = 0xffffc90000000000
)

// fake is a machine of which only the memory works.
type fake struct {
	machine.Machine

	mu      sync.Mutex
	ram     [64 << 10]byte
	paused  int
	done    chan struct{}
	written chan uint64 // told of every write, if set
	checks  []uint64    // where machine checks were raised
	logged  []uint64    // where errors were corrected
}

func (f *fake) CorrectedError(_ context.Context, phys uint64) error {
	f.logged = append(f.logged, phys)
	return nil
}

func (f *fake) MachineCheck(_ context.Context, phys uint64) error {
	f.checks = append(f.checks, phys)
	return nil
}

func newFake() *fake {
	f := &fake{done: make(chan struct{})}
	const present, large = 1, 0x80
	entry := func(table, index, value uint64) {
		binary.LittleEndian.PutUint64(f.ram[table+8*index:], value|present)
	}
	entry(0x1000, direct>>39%512, 0x2000)
	entry(0x2000, direct>>30%512, large) // 1 GiB
	entry(0x1000, apart>>39%512, 0x3000)
	entry(0x3000, apart>>30%512, 0x4000)
	entry(0x4000, apart>>21%512, 0x5000)
	entry(0x5000, 0, 0x9000)
	entry(0x5000, 1, 0x8000)
	return f
}

func (f *fake) kernel() *kernel.Kernel {
	symbols := map[string]uint64{"init_top_pgt": direct + 0x1000, "_stext": direct + 0xa000, "_etext": direct + 0xc000}
	return kernel.New(f, &kernel.Types{}, kernel.Layout{Symbols: symbols})
}

// moment is one at which the machine stands still.
func (f *fake) moment(t *testing.T) *fault.Moment {
	return &fault.Moment{
		Site:  fault.Site{Machine: f, Rand: rand.New(rand.NewPCG(1, 2))},
		Scope: core.Scope{ZFS: core.Open(f.kernel().View(t.Context()))},
	}
}

func (f *fake) at(addr uint64, p []byte) ([]byte, error) {
	if addr+uint64(len(p)) > uint64(len(f.ram)) {
		return nil, fmt.Errorf("no memory at %#x", addr)
	}
	return f.ram[addr:][:len(p)], nil
}

func (f *fake) ReadPhys(_ context.Context, addr uint64, p []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	data, err := f.at(addr, p)
	copy(p, data)
	return err
}

func (f *fake) WritePhys(_ context.Context, addr uint64, p []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	data, err := f.at(addr, p)
	copy(data, p)
	if f.written != nil {
		f.written <- addr
	}
	return err
}

func (f *fake) Translate(_ context.Context, _ int, virt uint64) (uint64, error) {
	return virt - direct, nil
}

func (f *fake) Pause(context.Context) error  { f.paused++; return nil }
func (f *fake) Resume(context.Context) error { f.paused--; return nil }
func (f *fake) Done() <-chan struct{}        { return f.done }

func (f *fake) Debug(context.Context) (machine.Debugger, error) { return fakeDebugger{f: f}, nil }

type fakeDebugger struct {
	machine.Debugger
	f *fake
}

func (d fakeDebugger) WriteVirt(ctx context.Context, _ int, addr uint64, p []byte) error {
	return d.f.WritePhys(ctx, addr-direct, p)
}

func (fakeDebugger) Close() error { return nil }
