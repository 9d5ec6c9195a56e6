package crash

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/nbd"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/zfs/audit"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/panics"
)

// Verdict is what became of the pool in an image.
type Verdict struct {
	Image
	// Audit is what the disks had inconsistent as the power came back; Unreadable why there was nothing to audit. After
	// is the same once the pool had been imported, its logs replayed, and exported.
	Audit      []string `json:"audit,omitempty"`
	Unreadable string   `json:"unreadable,omitempty"`
	After      []string `json:"after,omitempty"`
	// ReadOnly and ReadWrite say why an import failed; Panic is the signature of what the guest said instead of doing it.
	ReadOnly  string `json:"read_only,omitempty"`
	ReadWrite string `json:"read_write,omitempty"`
	Panic     string `json:"panic,omitempty"`
	// Damaged is what zpool status names.
	Damaged []string `json:"damaged,omitempty"`
	// Promises is how many files had been promised, Broken which of them are not as promised.
	Promises int            `json:"promises"`
	Broken   guest.Findings `json:"broken,omitempty"`
	// Invalid is trouble of the lab's own.
	Invalid string  `json:"invalid,omitempty"`
	Seconds float64 `json:"seconds"`
}

// Consistent says that nothing but the power was lost: no finding, no failed import, no panic.
func (v *Verdict) Consistent() bool {
	return len(v.Audit)+len(v.After)+len(v.Damaged) == 0 && v.Unreadable+v.ReadOnly+v.ReadWrite+v.Panic == ""
}

// judge is a guest in which images are imported, one after the other: their disks are exchanged while no pool is imported.
type judge struct {
	study   *Study
	record  *record
	booted  *machine.Checkpoint
	server  *nbd.Server
	sockets map[string]string

	vm    machine.Machine // nil until the first image, and after a crash
	guest *guest.Guest
}

func (s *Study) newJudge(ctx context.Context, r *record, booted *machine.Checkpoint, number int) (*judge, error) {
	server, err := nbd.Listen(ctx, filepath.Join(s.Sockets, fmt.Sprintf("judge-%d", number)))
	if err != nil {
		return nil, err
	}
	j := &judge{study: s, record: r, booted: booted, server: server, sockets: map[string]string{}}
	for _, d := range booted.Config.Disks {
		j.sockets[d.Name] = server.Path()
	}
	return j, nil
}

func (j *judge) close() error { return errors.Join(j.leave(), j.server.Close()) }

// leave ends the guest.
func (j *judge) leave() error {
	if j.vm == nil {
		return nil
	}
	if j.guest != nil {
		j.guest.Close()
	}
	err := j.vm.Close()
	j.vm, j.guest = nil, nil
	return err
}

// imageLimit is what the imports and checks of an image get on the reference host.
const imageLimit = 15 * time.Second

// judge looks at an image. Errors of the lab's own make it invalid; an error means that the context has ended.
func (j *judge) judge(ctx context.Context, m *Image) (*Verdict, error) {
	start := time.Now()
	v := &Verdict{Image: *m}
	views := make([]*View, len(j.booted.Config.Disks))
	for i := range views {
		views[i] = j.record.store.View(m, i)
	}
	v.Audit, v.Unreadable = j.audit(ctx, views)
	if err := j.try(ctx, v, views); err != nil && ctx.Err() == nil {
		v.Invalid = err.Error()
	}
	if j.guest != nil && v.ReadWrite == "" && v.Invalid == "" {
		var unreadable string
		v.After, unreadable = j.audit(ctx, views)
		v.Unreadable = cmp.Or(v.Unreadable, unreadable)
	}
	v.Seconds = time.Since(start).Seconds()
	return v, ctx.Err()
}

// audit reads the disks from outside.
func (j *judge) audit(ctx context.Context, views []*View) (findings []string, unreadable string) {
	devices := make([]ondisk.Device, 0, len(views))
	for i, d := range j.booted.Config.Disks {
		devices = append(devices, ondisk.Device{Name: d.Name, Data: views[i], Size: d.Size})
	}
	pool, err := ondisk.Open(ctx, devices, ondisk.Options{Name: j.study.Resolved.Pool.Name})
	if err != nil {
		return nil, err.Error()
	}
	report, err := audit.Pool(ctx, pool, audit.Options{Workers: 1, TempDir: j.study.Dir})
	if err != nil {
		return nil, err.Error()
	}
	for i := range report.Findings {
		findings = append(findings, report.Findings[i].String())
	}
	return findings, ""
}

// try imports the pool in the guest, read-only and read-write, and reads what was promised.
func (j *judge) try(ctx context.Context, v *Verdict, views []*View) error {
	limited, cancel := context.WithTimeout(ctx, j.booted.Scale.Limit(imageLimit))
	defer cancel()
	if err := j.show(limited, views); err != nil {
		return errors.Join(err, j.leave())
	}
	from := j.vm.Console().Len()
	err := j.imports(limited, v)
	if err == nil {
		return nil
	}
	// The guest has hung or died: the next image gets another.
	events := panics.Scan(j.vm.Console().Bytes()[from:])
	for _, e := range events {
		if e.Class == panics.Panic || e.Class == panics.Oops || e.Class == panics.Detected {
			v.Panic = e.Signature()
			return j.leave()
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		v.Panic = "hang: " + err.Error()
		return j.leave()
	}
	return errors.Join(err, j.leave())
}

// show puts an image into the disks of a guest that has no pool imported.
func (j *judge) show(ctx context.Context, views []*View) error {
	for i, d := range j.booted.Config.Disks {
		if err := j.server.Export(d.Name, nbd.Export{Size: d.Size, Handler: views[i]}); err != nil {
			return err
		}
	}
	if j.vm != nil {
		return nil
	}
	vm, err := j.study.Driver.Fork(ctx, j.booted, machine.ForkOptions{NBD: j.sockets})
	if err != nil {
		return err
	}
	j.vm = vm
	if j.guest, err = trial.Connect(ctx, vm, j.study.Image, j.booted.Scale); err != nil {
		return err
	}
	if err := j.guest.Rescan(ctx); err != nil {
		return err
	}
	_, err = j.guest.Run(ctx, "udevadm settle") // for the links of the partitions
	return err
}

// again makes the guest's kernel forget what it has read of its disks and imports the pool from their partitions alone.
const again = `disks=$(ls -d /dev/disk/by-id/virtio-*) && blockdev --flushbufs $disks && export LC_ALL=C &&
zpool import $(ls -d /dev/disk/by-id/virtio-*-part1 | sed 's/^/-d /') `

// imports does both imports. An error means that the guest did not answer.
func (j *judge) imports(ctx context.Context, v *Verdict) error {
	pool := j.study.Resolved.Pool.Name
	for _, way := range []struct {
		options string
		failed  *string
	}{{"-N -o readonly=on ", &v.ReadOnly}, {"", &v.ReadWrite}} {
		_, err := j.guest.Run(ctx, again+way.options+pool)
		var exit *guest.ExitError
		if errors.As(err, &exit) && exit.Status > 0 {
			*way.failed = strings.TrimSpace(exit.Stderr)
			continue
		}
		if err != nil {
			return err
		}
		if way.options == "" {
			if err := j.check(ctx, v); err != nil {
				return err
			}
		}
		if err := j.guest.Export(ctx, pool); err != nil {
			return err
		}
	}
	return nil
}

// check asks the pool how it is and reads what was promised.
func (j *judge) check(ctx context.Context, v *Verdict) error {
	oracle := &guest.Oracle{}
	for _, p := range j.record.promises {
		if p.at <= v.At {
			v.Promises++
			if err := oracle.Expect(p.Path, p.Sum); err != nil {
				return err
			}
		}
	}
	findings, err := oracle.Verify(ctx, j.guest)
	if err != nil {
		return err
	}
	for _, f := range findings {
		if f.Result != guest.Intact {
			v.Broken = append(v.Broken, f)
		}
	}
	status, err := j.guest.Status(ctx, j.study.Resolved.Pool.Name)
	v.Damaged = status.Damaged
	return err
}
