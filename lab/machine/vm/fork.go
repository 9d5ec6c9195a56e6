package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"

	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/machine"
)

// Fork starts a machine from a checkpoint. Restoring takes about 50 ms, most of it QEMU's own start; a fork that
// was restored ahead only has to be let go.
func (d *Driver) Fork(ctx context.Context, cp *machine.Checkpoint, o machine.ForkOptions) (machine.Machine, error) {
	if cp.Driver != d.Name() || cp.Version != d.Version() || cp.Accel != d.opts.Accel {
		return nil, fmt.Errorf("checkpoint %s was made by %s (%s, %s), not by %s (%s, %s): device state does not carry over",
			cp.Dir, cp.Driver, cp.Version, cp.Accel, d.Name(), d.Version(), d.opts.Accel)
	}
	m, err := d.take(ctx, cp, o)
	if err != nil {
		return nil, fmt.Errorf("fork %s: %w", cp.Dir, err)
	}
	if d, ok := m.process.(describer); ok && o.For != "" {
		err = d.Describe(ctx, o.For)
	}
	if err == nil {
		err = m.exchange(ctx, o.Disks)
	}
	if err == nil && !o.Paused {
		err = m.Resume(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// exchange gives data disks another content while the CPUs stand still. QEMU has the files open already and keeps nothing
// of a raw file's content.
func (m *vm) exchange(ctx context.Context, disks map[string]string) error {
	for name, from := range disks {
		i := slices.IndexFunc(m.Config.Disks, func(d machine.DiskConfig) bool { return d.Name == name })
		if i < 0 {
			return fmt.Errorf("fork: the checkpoint has no disk %s", name)
		}
		info, err := os.Stat(from)
		if err != nil {
			return fmt.Errorf("fork: disk %s: %w", name, err)
		}
		if size := m.Config.Disks[i].Size; info.Size() != size {
			return fmt.Errorf("fork: %s has %d bytes, disk %s has %d", from, info.Size(), name, size)
		}
		if err := host.OverwriteFile(ctx, m.Disk(name), from); err != nil {
			return fmt.Errorf("fork: disk %s: %w", name, err)
		}
	}
	return nil
}

// take finds a machine restored ahead or restores one now, and sees to it that as many are restored ahead as will be
// asked for.
func (d *Driver) take(ctx context.Context, cp *machine.Checkpoint, o machine.ForkOptions) (*vm, error) {
	if o.Freezable || len(o.NBD) > 0 {
		return d.restore(ctx, cp, o.Freezable, o.NBD)
	}
	d.mu.Lock()
	q := d.ahead[cp.Dir]
	if q == nil && !d.closed {
		q = newQueue()
		d.ahead[cp.Dir] = q
	}
	d.mu.Unlock()
	if q == nil {
		return nil, errors.New("the driver is closed")
	}
	m, err := q.take(ctx)
	if m == nil && err == nil {
		m, err = d.restore(ctx, cp, false, nil)
	}
	q.fill(min(o.Next, d.opts.Ahead), func(ctx context.Context) (*vm, error) { return d.restore(ctx, cp, false, nil) })
	return m, err
}

// Release lets go of what was restored ahead of a checkpoint that nobody is about to fork.
func (d *Driver) Release(cp *machine.Checkpoint) error {
	d.mu.Lock()
	q := d.ahead[cp.Dir]
	delete(d.ahead, cp.Dir)
	d.mu.Unlock()
	if q == nil {
		return nil
	}
	return q.close()
}

// restore brings a checkpoint back to life, its CPUs stopped.
func (d *Driver) restore(ctx context.Context, cp *machine.Checkpoint, freezable bool, nbd map[string]machine.NBD) (*vm, error) {
	if freezable && len(nbd) > 0 {
		return nil, errors.New("a checkpoint cannot hold the disks of an NBD server: fork without Freezable")
	}
	if cp.Config.Clock == machine.Instructions && len(nbd) > 0 {
		return nil, errors.New("the disks of a machine that counts its time are memory, which no NBD server can have")
	}
	s, err := d.prepare(cp.Config)
	if err != nil {
		return nil, err
	}
	s.NBD = nbd
	m, err := d.load(ctx, cp, s, freezable)
	if err != nil {
		return nil, errors.Join(err, s.remove())
	}
	return m, nil
}

func (d *Driver) load(ctx context.Context, cp *machine.Checkpoint, s *Spec, freezable bool) (*vm, error) {
	from := Files{Dir: cp.Dir}
	s.RAM, s.Shared, s.Incoming = from.ram(), freezable, true
	copies := map[string]string{}
	for _, disk := range s.Disks {
		if s.NBD[disk.Name].Socket == "" {
			copies[s.Disk(disk.Name)] = from.Disk(disk.Name)
		}
	}
	switch {
	case freezable: // its checkpoint must stand without this one
		s.RAM = s.ram()
		copies[s.RAM] = from.ram()
		copies[s.root(s.Config)] = from.root(s.Config)
		if s.Clock == machine.Instructions {
			s.Base = s.root(s.Config)
		}
	case s.Clock == machine.Instructions: // its root disk is memory, and mapped like that
		s.Base = from.root(s.Config)
	default:
		s.Base = from.Overlay()
		if err := overlay(ctx, s.Overlay(), s.Base, "qcow2"); err != nil {
			return nil, err
		}
	}
	for dst, src := range copies {
		if err := host.CloneFile(ctx, dst, src); err != nil {
			return nil, err
		}
	}
	history, err := os.ReadFile(from.Console())
	if err != nil {
		return nil, err
	}
	m, err := d.start(ctx, s, history)
	if err != nil {
		return nil, err
	}
	if err := m.receive(ctx, from.state()); err != nil {
		err = m.explain("restore the device state", err)
		m.kill()
		return nil, err
	}
	if cp.Bell != 0 {
		if err := m.Hang(ctx, cp.Bell); err != nil {
			m.kill()
			return nil, err
		}
	}
	return m, nil
}

// receive feeds the device state to a QEMU that waits for it.
func (m *vm) receive(ctx context.Context, path string) error {
	state, err := os.Open(path)
	if err != nil {
		return err
	}
	defer state.Close()
	if err := ignoreShared(ctx, m.process); err != nil {
		return err
	}
	socket := m.theirs("migrate")
	if err := m.process.Execute(ctx, "migrate-incoming", map[string]string{"uri": "unix:" + socket}, nil); err != nil {
		return err
	}
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.Copy(c, state); err != nil {
		return err
	}
	closed := make(chan error, 1)
	go func() { // until QEMU has taken it all, or the connection is closed on this side
		_, err := io.Copy(io.Discard, c)
		closed <- err
	}()
	return m.migrated(ctx, closed)
}

// queue holds machines of one checkpoint that were restored before anybody asked.
type queue struct {
	ctx    context.Context //nolint:containedctx // restoring ahead belongs to the queue and not to a caller
	cancel context.CancelFunc

	mu      sync.Mutex
	ready   []*vm
	pending int // being restored
	change  chan struct{}
	work    sync.WaitGroup
}

func newQueue() *queue {
	ctx, cancel := context.WithCancel(context.Background())
	return &queue{ctx: ctx, cancel: cancel, change: make(chan struct{})}
}

// take returns a machine that is ready or about to be, and nil when none was started.
func (q *queue) take(ctx context.Context) (*vm, error) {
	for {
		q.mu.Lock()
		change := q.change
		if n := len(q.ready); n > 0 {
			m := q.ready[n-1]
			q.ready = q.ready[:n-1]
			q.mu.Unlock()
			select {
			case <-m.done: // died while it waited; the next one may be well
				if err := m.Close(); err != nil {
					return nil, err
				}
				continue
			default:
				return m, nil
			}
		}
		pending := q.pending
		q.mu.Unlock()
		if pending == 0 {
			return nil, nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// fill restores machines in the background until n are ready or on their way. One that cannot be restored is left to
// the caller who needs it and gets the error.
func (q *queue) fill(n int, restore func(context.Context) (*vm, error)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for ; len(q.ready)+q.pending < n && q.ctx.Err() == nil; q.pending++ {
		q.work.Add(1)
		go func() {
			defer q.work.Done()
			m, err := restore(q.ctx)
			q.mu.Lock()
			defer q.mu.Unlock()
			q.pending--
			if err == nil {
				q.ready = append(q.ready, m)
			}
			close(q.change)
			q.change = make(chan struct{})
		}()
	}
}

func (q *queue) close() (err error) {
	q.cancel()
	q.work.Wait()
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range q.ready {
		err = errors.Join(err, m.Close())
	}
	q.ready = nil
	return err
}

// Settle waits until no machine is being restored ahead any more: measurements begin then.
func (d *Driver) Settle() {
	d.mu.Lock()
	queues := make([]*queue, 0, len(d.ahead))
	for _, q := range d.ahead {
		queues = append(queues, q)
	}
	d.mu.Unlock()
	for _, q := range queues {
		q.work.Wait()
	}
}
