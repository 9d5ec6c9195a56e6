package crash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/vdevil/vdevil/lab/checkpoint"
	"github.com/vdevil/vdevil/lab/drive"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/vm"
	"github.com/vdevil/vdevil/lab/nbd"
)

// maxLog is how much a workload may write, in bytes.
const maxLog = 8 << 30

// promise is one with the moment at which it was heard of.
type promise struct {
	guest.Promise
	at int
}

// record is what a workload has done.
type record struct {
	log      *Log
	disks    *Disks
	promises []promise
	bases    []*os.File
}

func (r *record) close() (err error) {
	for _, f := range r.bases {
		err = errors.Join(err, f.Close())
	}
	return errors.Join(err, r.log.Close())
}

// run does the workload on disks of the lab's own and cuts the power when it has come to its end.
func (s *Study) run(ctx context.Context) (_ *record, err error) {
	cp, err := s.Checkpoints.Prepared(ctx, s.OnImage, s.resolved)
	if err != nil {
		return nil, err
	}
	log, err := NewLog(s.Dir, maxLog)
	if err != nil {
		return nil, err
	}
	r := &record{log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if err := s.boot(ctx, cp, r); err != nil {
		return nil, err
	}
	var readers []io.ReaderAt
	var sizes []int64
	for i, d := range cp.Config.Disks {
		readers, sizes = append(readers, r.bases[i]), append(sizes, d.Size)
	}
	r.disks = NewDisks(log, readers, sizes)
	return r, nil
}

// boot does the workload in a guest. Disks of the checkpoint are copied: the copy is written to, the checkpoint's own is the base.
func (s *Study) boot(ctx context.Context, cp *machine.Checkpoint, r *record) (err error) {
	server, err := nbd.Listen(ctx, filepath.Join(s.Sockets, "record"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	disks := map[string]machine.NBD{}
	for i, d := range cp.Config.Disks {
		base := vm.Files{Dir: cp.Dir}.Disk(d.Name)
		f, err := os.Open(base)
		if err != nil {
			return err
		}
		r.bases = append(r.bases, f)
		work := filepath.Join(s.Dir, "work-"+d.Name)
		if err := host.CloneFile(ctx, work, base); err != nil {
			return err
		}
		disk, err := os.OpenFile(work, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer disk.Close() // nobody wants what is in it
		if err := server.Export(d.Name, nbd.Export{Size: d.Size, Handler: r.log.Disk(i, nbd.File{File: disk})}); err != nil {
			return err
		}
		disks[d.Name] = machine.NBD{Socket: server.Path()}
	}
	m, err := s.Machines.Fork(ctx, cp, machine.ForkOptions{NBD: disks})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	g, err := checkpoint.Connect(ctx, m, s.OnImage, cp.Scale)
	if err != nil {
		return err
	}
	defer g.Close()
	limited, cancel := context.WithTimeout(ctx, cp.Scale.Limit(s.resolved.Limit+s.Promises))
	defer cancel()
	if err := s.work(limited, g, r); err != nil {
		return fmt.Errorf("the workload: %w", err)
	}
	return m.PowerOff()
}

// work runs the workload and, beside it, writes files with fsync.
func (s *Study) work(ctx context.Context, g *guest.Guest, r *record) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return drive.RunWorkload(ctx, g, s.resolved, s.Seed) })
	var mu sync.Mutex
	group.Go(func() error {
		return g.Promises(ctx, s.resolved.Pool.Name+"/promises", s.Promises, s.Seed, func(p guest.Promise) {
			mu.Lock()
			defer mu.Unlock()
			r.promises = append(r.promises, promise{p, r.log.Len()})
		})
	})
	return group.Wait()
}
