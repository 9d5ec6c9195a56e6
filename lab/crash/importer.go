package crash

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vdevil/vdevil/lab/bench"
	"github.com/vdevil/vdevil/lab/checkpoint"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/judge"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/nbd"
	"github.com/vdevil/vdevil/lab/oracle"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/zfs/audit"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/panics"
)

// finding is what is known of a state so far.
type finding struct {
	trial.Result
	trial.State
	begun time.Time // by the clock that nobody sets, unlike Started
}

// found begins one.
func found(m *State) *finding {
	begun := time.Now()
	return &finding{
		begun:  begun,
		Result: trial.Result{Number: m.Number, Started: begun.UTC()},
		State:  trial.State{Kind: string(m.Kind), At: m.At, Unflushed: m.Unflushed, Kept: m.Kept, TornSectors: m.TornSectors},
	}
}

// conclude gives the outcome: what the guest said of itself, or else the worst of what was found. Trouble of the lab's own makes
// it invalid.
func (v *finding) conclude(trouble error) trial.Result {
	r := v.Result
	r.State = &v.State
	r.Seconds = time.Since(v.begun).Seconds()
	switch {
	case trouble != nil:
		r.Outcome, r.Signature, r.Text, r.Reason = trial.Invalid, "", "", trouble.Error()
	case r.Outcome != "":
	case len(v.Broken) > 0:
		r.Outcome, r.Reason = trial.Broken, fmt.Sprintf("%d of %d promises are broken, first %s %s", len(v.Broken), v.Promises, v.Broken[0].Path, v.Broken[0].Result)
	case v.ReadWrite+v.ReadOnly != "":
		r.Outcome, r.Reason = trial.Broken, "the import was refused: "+cmp.Or(v.ReadWrite, v.ReadOnly)
	case len(v.Audit)+len(v.After) > 0:
		r.Outcome, r.Reason = trial.Latent, strings.Join(slices.Concat(v.Audit, v.After), "; ")
	case v.Unreadable != "":
		r.Outcome, r.Reason = trial.Latent, "the disks cannot be audited: "+v.Unreadable
	case len(v.Damaged) > 0:
		r.Outcome, r.Reason = trial.Detected, "the pool names "+strings.Join(v.Damaged, ", ")
	default:
		r.Outcome = trial.Masked
	}
	return r
}

// importer is a guest in which states are imported, one after the other: their disks are exchanged while no pool is imported.
type importer struct {
	study  *Study
	record *record
	booted *machine.Checkpoint
	server *nbd.Server
	disks  map[string]machine.NBD

	vm      machine.Machine // nil until the first state, and after a crash
	guest   *guest.Guest
	entered func(*machine.Console) // of the state that is judged, see bench.Options
}

func (s *Study) newImporter(ctx context.Context, number int) (*importer, error) {
	server, err := nbd.Listen(ctx, filepath.Join(s.Sockets, fmt.Sprintf("judge-%d", number)))
	if err != nil {
		return nil, err
	}
	im := &importer{study: s, record: s.record, booted: s.booted, server: server, disks: map[string]machine.NBD{}}
	for _, d := range s.booted.Config.Disks {
		im.disks[d.Name] = machine.NBD{Socket: server.Path()}
	}
	return im, nil
}

func (im *importer) close() error { return errors.Join(im.leave(), im.server.Close()) }

// leave ends the guest.
func (im *importer) leave() error {
	if im.vm == nil {
		return nil
	}
	if im.guest != nil {
		im.guest.Close()
	}
	err := im.vm.Close()
	im.vm, im.guest = nil, nil
	return err
}

// stateLimit is what the imports and checks of a state get on the reference host.
const stateLimit = 15 * time.Second

// judge looks at a state. Errors of the lab's own make it invalid; an error means that the context has ended.
func (im *importer) judge(ctx context.Context, m *State) (trial.Result, error) {
	v := found(m)
	views := make([]*View, len(im.booted.Config.Disks))
	for i := range views {
		views[i] = im.record.disks.View(m, i)
	}
	trouble := im.examine(ctx, v, views)
	if ctx.Err() != nil {
		return trial.Result{}, errors.Join(context.Cause(ctx), im.leave())
	}
	return v.conclude(trouble), nil
}

// examine audits a state, tries it in a guest, and audits what that has made of it. Whatever came of it, it counts for
// nothing if the lab failed to be a disk.
func (im *importer) examine(ctx context.Context, v *finding, views []*View) (err error) {
	defer func() {
		for _, view := range views {
			if trouble := view.Trouble(); trouble != nil {
				err = errors.Join(trouble, im.leave())
				return
			}
		}
	}()
	if v.Audit, err = im.audit(ctx, v, views); err != nil {
		return err
	}
	if err = im.try(ctx, v, views); err != nil || im.guest == nil || v.ReadWrite != "" {
		return err
	}
	v.After, err = im.audit(ctx, v, views)
	return err
}

// audit reads the disks from outside. That a block has lost its checksum counts here: no fault has damaged it.
func (im *importer) audit(ctx context.Context, v *finding, views []*View) (findings []string, err error) {
	devices := make([]ondisk.Device, 0, len(views))
	for i, d := range im.booted.Config.Disks {
		devices = append(devices, ondisk.Device{Name: d.Name, Data: views[i], Size: d.Size})
	}
	o, err := judge.Audit(ctx, devices, im.study.resolved.Pool.Name, audit.Options{Workers: 1, TempDir: im.study.Dir})
	switch {
	case err != nil:
		return nil, fmt.Errorf("audit the disks: %w", err)
	case o.Unreadable != nil:
		v.Unreadable = cmp.Or(v.Unreadable, o.Unreadable.Error())
		return nil, nil
	case o.NotAudited != nil:
		v.NotAudited = cmp.Or(v.NotAudited, o.NotAudited.Error())
		return nil, nil
	}
	for i := range o.Report.Findings {
		findings = append(findings, o.Report.Findings[i].String())
	}
	return findings, nil
}

// try imports the pool in the guest, read-only and read-write, and reads what was promised. After a crash, or when the guest
// has not answered, the next state gets another one.
func (im *importer) try(ctx context.Context, v *finding, views []*View) error {
	limited, cancel := context.WithTimeout(ctx, im.booted.Scale.Limit(stateLimit))
	defer cancel()
	watched, end := context.WithCancel(ctx) // longer than the guest is waited for
	defer end()
	if err := im.show(limited, views); err != nil {
		if im.vm != nil { // a connection breaks before the death of the machine is known
			if _, _, died := bench.Follow(watched, im.vm, im.vm.Console().Len(), im.booted.Scale).Aftermath(ctx); died != nil {
				err = bench.HypervisorDied(died)
			}
		}
		return errors.Join(err, im.leave())
	}
	if im.entered != nil {
		im.entered(im.vm.Console())
	}
	follow := bench.Follow(watched, im.vm, im.vm.Console().Len(), im.booted.Scale)
	working, stop := context.WithCancel(limited)
	defer stop()
	go func() { // a command of a guest that has crashed may hang for ever
		select {
		case <-follow.Crash():
			stop()
		case <-working.Done():
		}
	}()
	err := im.imports(working, v)
	select {
	case <-follow.Crash():
	default:
		if err == nil {
			return nil
		}
	}
	return errors.Join(im.aftermath(ctx, v, follow, err), im.leave())
}

// outcomes are those of messages after which a guest is of no more use.
var outcomes = map[panics.Class]trial.Outcome{panics.Panic: trial.Panic, panics.Oops: trial.Oops, panics.Detected: trial.Detected}

// aftermath says what has happened to a guest that crashed, or that did not answer.
func (im *importer) aftermath(ctx context.Context, v *finding, follow *bench.Follower, err error) error {
	events, ended, died := follow.Aftermath(ctx)
	for _, e := range events { // the worst, and of those the first
		if o := outcomes[e.Class]; o != "" && (v.Outcome == "" || o != v.Outcome && trial.Worst(o, v.Outcome) == o) {
			v.Outcome, v.Signature, v.Text, v.Events = o, e.Signature(), e.Text, events
		}
	}
	switch {
	case v.Outcome != "":
		return nil
	case died != nil:
		return bench.HypervisorDied(died)
	case ended:
		v.Outcome, v.Reason = trial.Oops, "the machine stopped without a message"
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		v.Outcome, v.Reason = trial.Hang, err.Error()
		return nil
	}
	return err
}

// show puts a state into the disks of a guest that has no pool imported.
func (im *importer) show(ctx context.Context, views []*View) error {
	for i, d := range im.booted.Config.Disks {
		if err := im.server.Export(d.Name, nbd.Export{Size: d.Size, Handler: views[i]}); err != nil {
			return err
		}
	}
	if im.vm != nil {
		return nil
	}
	vm, err := im.study.Machines.Fork(ctx, im.booted, machine.ForkOptions{NBD: im.disks})
	if err != nil {
		return err
	}
	im.vm = vm
	if im.guest, err = checkpoint.Connect(ctx, vm, im.study.OnImage, im.booted.Scale); err != nil {
		return err
	}
	if err := im.guest.Rescan(ctx); err != nil {
		return err
	}
	_, err = im.guest.Run(ctx, "udevadm settle") // for the links of the partitions
	return err
}

// forget makes the guest's kernel forget what it has read of its disks.
const forget = `disks=$(ls -d /dev/disk/by-id/virtio-*) && blockdev --flushbufs $disks && export LC_ALL=C`

// again imports the pool from the partitions of the disks alone.
const again = forget + ` &&
zpool import $(ls -d /dev/disk/by-id/virtio-*-part1 | sed 's/^/-d /') `

// second asks zdb about a pool that our reader could say nothing of.
func (im *importer) second(ctx context.Context, v *finding) (err error) {
	if v.NotAudited+v.Unreadable == "" {
		return nil
	}
	if _, err := im.guest.Run(ctx, forget); err != nil {
		return err
	}
	v.ZDB, err = im.guest.ZDB(ctx, im.study.resolved.Pool.Name)
	return err
}

// imports does both imports, and has zdb look before where that is all the word there is on the disks. An error means that the guest did not answer.
func (im *importer) imports(ctx context.Context, v *finding) error {
	pool := im.study.resolved.Pool.Name
	if err := im.second(ctx, v); err != nil {
		return err
	}
	for _, way := range []struct {
		options string
		failed  *string
	}{{"-N -o readonly=on ", &v.ReadOnly}, {"", &v.ReadWrite}} {
		_, err := im.guest.Run(ctx, again+way.options+pool)
		var exit *guest.ExitError
		if errors.As(err, &exit) && exit.Status > 0 {
			*way.failed = strings.TrimSpace(exit.Stderr)
			continue
		}
		if err != nil {
			return err
		}
		if way.options == "" {
			if err := im.check(ctx, v); err != nil {
				return err
			}
		}
		if err := im.guest.Export(ctx, pool); err != nil {
			return err
		}
	}
	return nil
}

// check asks the pool how it is and reads what was promised.
func (im *importer) check(ctx context.Context, v *finding) error {
	known := &oracle.Oracle{}
	for _, p := range im.record.promises {
		if p.at <= v.At {
			v.Promises++
			if err := known.Expect(p.Path, p.Sum); err != nil {
				return err
			}
		}
	}
	findings, err := im.guest.Verify(ctx, known)
	if err != nil {
		return err
	}
	for _, f := range findings {
		if f.Result != oracle.Intact {
			v.Broken = append(v.Broken, f)
		}
	}
	status, err := im.guest.Status(ctx, im.study.resolved.Pool.Name)
	v.Damaged = status.Damaged
	return err
}
