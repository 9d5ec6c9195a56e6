package trial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vdevil/vdevil/lab/machine"
)

// bundle is a directory with everything needed to look at one trial, or to repeat it:
//
//	plan.json        arm, steps, seed, and the command that repeats it
//	scenario.yaml    the scenario as it was
//	command.txt      the hypervisor's command line
//	console.log      all the guest printed, boot included; console-2.log and so on after a reboot
//	output.txt       what the commands of the scenario printed, with times, if there were any
//	injections.json  what the fault changed, byte for byte
//	stack.txt        the messages that decided, with their stacks; of a hang at least what the kernel answered about its threads
//	outcome.json     what happened
//	disk-*.raw       the data disks, if they were kept
type bundle struct {
	dir string
}

// newBundle writes the plan at once, so that a lab that dies has left what it was about.
func newBundle(p Plan) (*bundle, error) {
	b := &bundle{dir: p.Bundle}
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make bundle: %w", err)
	}
	return b, errors.Join(b.json("plan.json", p), b.file("scenario.yaml", []byte(p.Scenario.Source)))
}

func (b *bundle) file(name string, data []byte) error {
	if err := os.WriteFile(filepath.Join(b.dir, name), data, 0o644); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	return nil
}

func (b *bundle) json(name string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write bundle: %s: %w", name, err)
	}
	return b.file(name, append(data, '\n'))
}

// write leaves the evidence of a trial that has ended. There are no lives when there was no machine.
func (b *bundle) write(ctx context.Context, lives []*life, r Result, output []byte, keepDisks bool) error {
	err := errors.Join(b.json("outcome.json", r), b.json("injections.json", r.Injections), b.file("stack.txt", stacks(r)))
	if len(output) > 0 {
		err = errors.Join(err, b.file("output.txt", output))
	}
	for i, l := range lives {
		name := "console.log"
		if i > 0 {
			name = fmt.Sprintf("console-%d.log", i+1)
		}
		err = errors.Join(err, b.file(name, l.vm.Console().Bytes()))
	}
	if len(lives) == 0 {
		return err
	}
	vm := lives[len(lives)-1].vm
	err = errors.Join(err, b.file("command.txt", []byte(strings.Join(vm.Command(), " \\\n  ")+"\n")))
	if !keepDisks {
		return err
	}
	err = errors.Join(err, vm.PowerOff())
	for _, d := range vm.Disks() {
		err = errors.Join(err, machine.CloneFile(ctx, filepath.Join(b.dir, filepath.Base(d.Path)), d.Path))
	}
	return err
}

// discard removes a bundle that nobody will ask for.
func (b *bundle) discard() error { return os.RemoveAll(b.dir) }

func stacks(r Result) []byte {
	var s strings.Builder
	for _, e := range r.Events {
		fmt.Fprintf(&s, "%s\n%s\n", e.Signature(), e.Raw)
	}
	s.Write(r.threads)
	return []byte(s.String())
}
