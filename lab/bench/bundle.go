package bench

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/trial"
)

// bundle is a directory with everything needed to look at one trial, or to repeat it:
//
//	spec.json        all that decides the trial, enough to do it again
//	scenario.yaml    the scenario as it was, for a reader
//	command.txt      the hypervisor's command line
//	console.log      all the guest printed, boot included; console-2.log and so on after a reboot
//	output.txt       what the commands of the scenario printed, with times, if there were any
//	injections.json  what the fault changed, byte for byte
//	stack.txt        the messages that decided, with their stacks; of a hang at least what the kernel answered about its threads
//	functions.txt    to what functions of the modules the trial came, if that was asked for
//	outcome.json     what happened
//	disk-*.raw       the data disks, if they were kept
type bundle struct {
	dir      string
	evidence []trial.Evidence
}

// newBundle writes the spec at once, so that a lab that dies has left what it was about.
func newBundle(dir string, spec trial.Spec) (*bundle, error) {
	b := &bundle{dir: dir}
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make bundle: %w", err)
	}
	return b, errors.Join(b.json("spec.json", spec), b.file("scenario.yaml", []byte(spec.Scenario)))
}

func (b *bundle) file(name string, data []byte) error {
	if err := os.WriteFile(filepath.Join(b.dir, name), data, 0o644); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	sum := sha256.Sum256(data)
	b.evidence = append(b.evidence, trial.Evidence{Name: name, Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])})
	return nil
}

func (b *bundle) json(name string, v any) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false) // paths are full of "->"
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write bundle: %s: %w", name, err)
	}
	return b.file(name, text.Bytes())
}

// write leaves the evidence of a trial that has ended, and lists it in the result. There are no lives when there was no machine.
func (b *bundle) write(ctx context.Context, lives []*life, r *result, output []byte, keepDisks bool) error {
	err := errors.Join(b.json("injections.json", r.Injections), b.file("stack.txt", stacks(r)))
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
	if len(lives) > 0 {
		vm := lives[len(lives)-1].vm
		err = errors.Join(err, b.file("command.txt", []byte(strings.Join(vm.Command(), " \\\n  ")+"\n")))
		if keepDisks {
			err = errors.Join(err, b.disks(ctx, vm))
		}
	}
	outcome := r.Result
	if c := r.Code; c != nil {
		err = errors.Join(err, b.file("functions.txt", []byte(strings.Join(c.First, "\n")+"\n")))
		outcome.Code = &trial.Code{Functions: c.Functions, Reached: c.Reached} // who was first is not this trial's to say
	}
	outcome.Evidence = b.evidence
	r.Evidence = b.evidence
	return errors.Join(err, b.json("outcome.json", outcome))
}

// disks keeps those of a machine, as they are when it has been switched off.
func (b *bundle) disks(ctx context.Context, vm machine.Machine) error {
	err := vm.PowerOff()
	for _, d := range vm.Disks() {
		name := filepath.Base(d.Path)
		err = errors.Join(err, host.CloneFile(ctx, filepath.Join(b.dir, name), d.Path), b.note(name))
	}
	return err
}

// note lists a file that is in the bundle already.
func (b *bundle) note(name string) error {
	f, err := os.Open(filepath.Join(b.dir, name))
	if err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	defer f.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	if err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	b.evidence = append(b.evidence, trial.Evidence{Name: name, Size: size, SHA256: hex.EncodeToString(sum.Sum(nil))})
	return nil
}

// discard removes a bundle that nobody will ask for.
func (b *bundle) discard() error { return os.RemoveAll(b.dir) }

func stacks(r *result) []byte {
	var s strings.Builder
	for _, e := range r.Events {
		fmt.Fprintf(&s, "%s\n%s\n", e.Signature(), e.Raw)
	}
	s.Write(r.threads)
	return []byte(s.String())
}
