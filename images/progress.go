package images

import (
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/vdevil/vdevil/lab/host"
)

// Step is an event of a build: a step began, or with Done it ended. Steps overlap, since the compiler and the guest's file
// system use one CPU each at times.
type Step struct {
	Name string
	// Index counts from 1 to Of. A step that only waits for another process has Index 0.
	Index, Of int
	// Elapsed is 0 when the step begins and what it took when it ended.
	Elapsed time.Duration
	// Expected is a guess from the steps' measured times; the network and other programs stretch it.
	Expected time.Duration
	Done     bool
}

// phase is a step as the scripts know it: they print "@step ID" when it begins, and it ends with the next one of the same
// chroot.
type phase struct {
	id, name string
	// expected is what the step takes on two idle cores with packages at 25 MB/s.
	expected time.Duration
	// parallel says that it uses all cores.
	parallel bool
}

var imagePhases = []phase{
	{id: "compiler", name: "installing the compiler", expected: 35 * time.Second},
	{id: "compile", name: "compiling OpenZFS", expected: 110 * time.Second, parallel: true},
	{id: "kernel", name: "making kernel and initrd", expected: 10 * time.Second},
	{id: "base", name: "installing the guest", expected: 30 * time.Second},
	{id: "guest", name: "setting the guest up", expected: 3 * time.Second},
	{id: "disk", name: "making the root disk", expected: 3 * time.Second},
}

// basePhases are those of an image that trees are put on, and of the builder, which is made beside it.
var basePhases = []phase{
	{id: "tools", name: "installing what makes an initrd", expected: 15 * time.Second},
	{id: "kernel", name: "making kernel and initrd", expected: 10 * time.Second},
	{id: "base", name: "installing the guest", expected: 30 * time.Second},
	{id: "guest", name: "setting the guest up", expected: 3 * time.Second},
	{id: "disk", name: "making the root disk", expected: 3 * time.Second},
	{id: "builder", name: "installing compiler and headers", expected: 45 * time.Second},
	{id: "pack", name: "putting them in place", expected: 15 * time.Second},
}

// treePhases are those of an image of a tree. The builder's are there once for each kernel, and the others are shorter where a
// tree much like it was compiled before.
var treePhases = []phase{
	{id: "builder", name: "installing compiler and headers", expected: 45 * time.Second},
	{id: "pack", name: "putting them in place", expected: 15 * time.Second},
	{id: "checkout", name: "checking the tree out", expected: time.Second},
	{id: "configure", name: "configuring", expected: 110 * time.Second},
	{id: "modules", name: "compiling modules", expected: 130 * time.Second, parallel: true},
	{id: "programs", name: "compiling programs", expected: 100 * time.Second, parallel: true},
	{id: "layer", name: "packing", expected: time.Second},
}

// unpackPhases are those of the source of a package.
var unpackPhases = []phase{
	{id: "download", name: "downloading the package", expected: 30 * time.Second},
	{id: "unpack", name: "unpacking it", expected: 2 * time.Second},
}

func (p phase) guess() time.Duration {
	if p.parallel {
		return p.expected * 2 / time.Duration(max(2, runtime.NumCPU()))
	}
	return p.expected
}

// progress turns what the scripts print into steps.
type progress struct {
	phases []phase
	mu     sync.Mutex
	tell   func(Step)
	begun  map[string]time.Time
}

func newProgress(phases []phase, tell func(Step)) *progress {
	if tell == nil {
		tell = func(Step) {}
	}
	return &progress{phases: phases, tell: tell, begun: map[string]time.Time{}}
}

func (p *progress) wait(h host.Holder) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tell(Step{Name: fmt.Sprintf("waiting for %s, which builds", h)})
}

// begin and end report a phase; ids that are none are ignored.
func (p *progress) begin(id string) { p.report(id, false) }
func (p *progress) end(id string)   { p.report(id, true) }

func (p *progress) report(id string, done bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, ph := range p.phases {
		if ph.id != id {
			continue
		}
		s := Step{Name: ph.name, Index: i + 1, Of: len(p.phases), Expected: ph.guess(), Done: done}
		if done {
			s.Elapsed = time.Since(p.begun[id])
		} else {
			p.begun[id] = time.Now()
		}
		p.tell(s)
	}
}
