package core

import (
	"errors"
	"fmt"

	"github.com/vdevil/vdevil/lab/kernel"
)

// zioLimit is more I/O than can be in flight.
const zioLimit = 1 << 20

// zioWalk collects I/O in flight.
type zioWalk struct {
	z    *ZFS
	zio  kernel.Type
	link kernel.Type
	seen map[uint64]bool
	out  []kernel.Value
}

// zios are the I/Os in flight of a pool that are reached from its roots for asynchronous, syncing and suspended I/O, from
// the queues of its leaf devices, and from each of those by parents and children. A child that waits for nothing and
// whose parent is on a stack, like a read that was not sent to a device yet, is not found.
func (z *ZFS) zios(spa kernel.Value) ([]kernel.Value, error) {
	w := &zioWalk{z: z, seen: map[uint64]bool{}}
	var err error
	if w.zio, err = z.typed("zio_t"); err != nil {
		return nil, err
	}
	if w.link, err = z.typed("zio_link_t"); err != nil {
		return nil, err
	}
	roots := []kernel.Value{spa.Field("spa_suspend_zio_root")}
	if txg := spa.Field("spa_txg_zio"); txg.Err() == nil {
		for i := range txg.Type().Base().Len() {
			roots = append(roots, txg.Index(i))
		}
	}
	for _, p := range roots {
		if err := w.pointer(p); err != nil {
			return nil, err
		}
	}
	if err := w.async(spa); err != nil {
		return nil, err
	}
	root, err := pointedTo("spa_root_vdev")(z, place{Value: spa})
	if err != nil {
		return nil, err
	}
	const deepest = 8
	return w.out, w.queues(place{Value: root.Value}, deepest)
}

// async visits spa_async_zio_root, an array with a root for every CPU whose length is no variable: what follows it is
// told by not belonging to the pool.
func (w *zioWalk) async(spa kernel.Value) error {
	array := spa.Field("spa_async_zio_root")
	if null, err := array.IsNull(); err != nil || null {
		return err
	}
	const cpus = 512
	for i := range cpus {
		p := array.Index(i)
		owner, err := p.Field("io_spa").Uint()
		if err != nil || owner != spa.Addr() {
			return nil
		}
		if err := w.pointer(p); err != nil {
			return err
		}
	}
	return nil
}

func (w *zioWalk) pointer(p kernel.Value) error {
	addr, err := p.Uint()
	if err != nil || addr == 0 {
		return err
	}
	return w.visit(addr)
}

// visit takes in an I/O and those around it.
func (w *zioWalk) visit(addr uint64) error {
	todo := []uint64{addr}
	for len(todo) > 0 {
		addr := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if w.seen[addr] {
			continue
		}
		if len(w.seen) >= zioLimit {
			return errors.New("there is no end to the I/O in flight")
		}
		w.seen[addr] = true
		zio := w.z.view.At(w.zio, addr, fmt.Sprintf("zio_t@%#x", addr))
		w.out = append(w.out, zio)
		for _, way := range []struct{ list, to string }{{"io_parent_list", "zl_parent"}, {"io_child_list", "zl_child"}} {
			for link, err := range zio.Field(way.list).List(w.link) {
				if err != nil {
					return err
				}
				next, err := link.Field(way.to).Uint()
				if err != nil {
					return err
				}
				todo = append(todo, next)
			}
		}
	}
	return nil
}

// queues visits what devices are doing.
func (w *zioWalk) queues(vd place, deepest int) error {
	children, err := vdevItems("")(w.z, vd)
	if err != nil || deepest == 0 {
		return err
	}
	for i := range children.len() {
		child, err := children.at(i)
		if err != nil {
			return err
		}
		if err := w.queues(child, deepest-1); err != nil {
			return err
		}
	}
	if children.len() > 0 {
		return nil
	}
	queue := vd.Field("vdev_queue")
	active := queue.Field("vq_active_list", "vq_active_tree")
	walk := active.List
	if _, list := queue.Type().Field("vq_active_list"); !list {
		walk = active.AVL
	}
	if err := queue.Field("vq_vdev").Err(); err != nil {
		return err
	}
	if owner, err := queue.Field("vq_vdev").Uint(); err != nil || owner == 0 {
		return err // a device without a queue: a hole, a missing one
	}
	for zio, err := range walk(w.zio) {
		if err != nil {
			return err
		}
		if err := w.visit(zio.Addr()); err != nil {
			return err
		}
	}
	return nil
}

// zios lists I/O in flight.
func (l *lister) zios(spa kernel.Value) error {
	all, err := l.z.zios(spa)
	if err != nil {
		return err
	}
	for _, v := range all {
		kind, err := v.Field("io_type").Format()
		if err != nil {
			return err
		}
		if err := l.add(KindZio, v, Object{Detail: kind}); err != nil || l.stopped {
			return err
		}
	}
	return nil
}
