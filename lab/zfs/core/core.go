// Package core is ZFS in the memory of a guest's kernel as data: pools, devices, metaslabs and their range trees, object
// sets, dnodes, buffers, the ARC, deduplication and cloning tables, I/O in flight. It finds them from the module's global
// variables, names them by target paths like `spa("tank").vdev[0].ms[12].ms_allocatable.seg[3].rs_end`, and lists them.
//
// An object is a structure or buffer that ZFS allocated, or a part of one that has a meaning of its own. All layouts come
// from the guest's debug information; what versions of OpenZFS name differently is found by any of its names, and what a
// version does not have is absent.
package core

import (
	"fmt"
	"strconv"

	"github.com/vdevil/vdevil/lab/kernel"
)

// ZFS is all of ZFS at the instant of a view. It is not safe for concurrent use.
type ZFS struct {
	view  *kernel.View
	types *kernel.Types
	named map[string]kernel.Type // by the newest of the names in types.go
	words map[string]string      // what this version calls them
	kinds map[string]string      // and the newest names by typedefs and by "struct tag"
	extra map[string][]pseudo

	buffers *buffers // once they were asked for
	dmu     *dmuTypes
}

// Open looks at ZFS in a view. Nothing is read yet.
func Open(v *kernel.View) *ZFS {
	z := &ZFS{view: v, types: v.Types()}
	z.nameTypes()
	z.extra = pseudoMembers()
	return z
}

// View is what ZFS was opened in.
func (z *ZFS) View() *kernel.View { return z.view }

// Spas are the pools that the kernel knows, in the order of their names (spa_namespace_avl, module/zfs/spa_misc.c). One
// that is being imported may be half built.
func (z *ZFS) Spas() ([]kernel.Value, error) {
	spa, err := z.typed("spa_t")
	if err != nil {
		return nil, err
	}
	var out []kernel.Value
	for v, err := range z.view.Var("spa_namespace_avl").AVL(spa) {
		if err != nil {
			return nil, fmt.Errorf("list the pools: %w", err)
		}
		name, err := v.Field("spa_name").CString()
		if err != nil {
			return nil, fmt.Errorf("list the pools: %w", err)
		}
		out = append(out, v.Rename("spa("+strconv.Quote(name)+")"))
	}
	return out, nil
}

// Spa is the pool of a name.
func (z *ZFS) Spa(name string) (kernel.Value, error) {
	spas, err := z.Spas()
	if err != nil {
		return kernel.Value{}, err
	}
	var names []string
	for _, spa := range spas {
		n, err := spa.Field("spa_name").CString()
		if err != nil {
			return kernel.Value{}, err
		}
		if n == name {
			return spa, nil
		}
		names = append(names, n)
	}
	return kernel.Value{}, absent("no pool %q; there %s", name, are(names))
}

// onlySpa is the pool where there is one.
func (z *ZFS) onlySpa() (kernel.Value, error) {
	spas, err := z.Spas()
	if err != nil {
		return kernel.Value{}, err
	}
	if len(spas) == 1 {
		return spas[0], nil
	}
	var names []string
	for _, spa := range spas {
		names = append(names, spa.Path())
	}
	return kernel.Value{}, absent("spa alone means the only pool; there %s", are(names))
}

// TXG is how far a pool has come.
type TXG struct {
	// Synced is that of the uberblock in memory (spa_uberblock). The one on disk may be behind by transaction groups in
	// which nothing changed: those are not written (vdev_config_sync, module/zfs/vdev_label.c).
	Synced uint64 `json:"synced"`
	// Syncing is the transaction group that is being written, or the last one that was (spa_syncing_txg).
	Syncing uint64 `json:"syncing"`
	// Open is the one that takes new changes (tx_open_txg).
	Open uint64 `json:"open"`
}

// TXG reads the transaction groups of a pool.
func (z *ZFS) TXG(spa kernel.Value) (TXG, error) {
	var n numbers
	t := TXG{
		Synced:  n.uint(spa.Field("spa_uberblock").Field("ub_txg")),
		Syncing: n.uint(spa.Field("spa_syncing_txg")),
		Open:    n.uint(spa.Field("spa_dsl_pool").Field("dp_tx").Field("tx_open_txg")),
	}
	return t, n.err
}

// numbers reads many values and keeps the first error; after one, all are zero.
type numbers struct{ err error }

func (n *numbers) uint(v kernel.Value) uint64 {
	if n.err != nil {
		return 0
	}
	var u uint64
	u, n.err = v.Uint()
	return u
}

func (n *numbers) int(v kernel.Value) int64 {
	if n.err != nil {
		return 0
	}
	var i int64
	i, n.err = v.Int()
	return i
}
