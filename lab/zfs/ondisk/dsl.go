package ondisk

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vdevil/vdevil/lab/printable"
)

// DSLDir is a node in the tree of datasets (dsl_dir_phys_t in include/sys/dsl_dir.h).
type DSLDir struct {
	ID                                            uint64
	HeadDataset, Parent, Origin, ChildDirs        uint64 // objects of the MOS
	UsedBytes, CompressedBytes, UncompressedBytes uint64
	Quota, Reserved                               uint64
	Props, Deleg, Flags                           uint64
	UsedBreakdown                                 [5]uint64
	Clones                                        uint64
	// Livelist is the deadlist object in which a clone keeps track of its own blocks, CryptoKey the key of an encrypted
	// one; 0 if there is none.
	Livelist, CryptoKey uint64
}

// DSLDataset is a file system, a volume or a snapshot (dsl_dataset_phys_t in include/sys/dsl_dataset.h).
type DSLDataset struct {
	ID uint64
	// Name is the whole name, empty when the dataset was found without its path.
	Name                           string
	Dir                            uint64
	PrevSnap, PrevSnapTXG          uint64
	NextSnap                       uint64
	SnapNames                      uint64 // 0 for a snapshot
	Children                       uint64
	CreationTime, CreationTXG      uint64
	Deadlist                       uint64
	ReferencedBytes                uint64
	CompressedBytes                uint64
	UncompressedBytes, UniqueBytes uint64
	FSIDGUID, GUID, Flags          uint64
	Root                           BlkPtr
	NextClones, Props, UserRefs    uint64
	// RemapDeadlist is the deadlist of blocks that were remapped after a removal, 0 if there is none.
	RemapDeadlist uint64
}

// Snapshot says that the dataset is one. A head has a ZAP of the names of its snapshots.
func (d *DSLDataset) Snapshot() bool { return d.SnapNames == 0 }

// Since which versions of pools there are the directories $ORIGIN and $FREE (include/sys/fs/zfs.h).
const (
	versionOrigin    = 11
	versionDeadlists = 26
)

const (
	dslDirWords     = 15 // up to dd_used_breakdown and dd_clones, which old pools lack
	dslDatasetWords = 16 // before the block pointer
)

// DSLDir reads a directory.
func (p *Pool) DSLDir(ctx context.Context, id uint64) (*DSLDir, error) {
	o, err := p.MOS.Object(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("DSL directory: %w", err)
	}
	w := o.bonusWords()
	if o.BonusType != TypeDSLDir || len(w) < dslDirWords {
		return nil, fmt.Errorf("DSL directory %v: %w", o, corrupt("a bonus of type %d with %d words", o.BonusType, len(w)))
	}
	w = append(w, make([]uint64, 32)...)
	d := &DSLDir{
		ID: id, HeadDataset: w[1], Parent: w[2], Origin: w[3], ChildDirs: w[4], UsedBytes: w[5], CompressedBytes: w[6],
		UncompressedBytes: w[7], Quota: w[8], Reserved: w[9], Props: w[10], Deleg: w[11], Flags: w[12],
		UsedBreakdown: [5]uint64(w[13:18]), Clones: w[18],
	}
	if err := o.extras(ctx, map[string]*uint64{"com.delphix:livelist": &d.Livelist, "com.datto:crypto_key_obj": &d.CryptoKey}); err != nil {
		return nil, err
	}
	return d, nil
}

// extras reads fields that directories and datasets got later: entries of a ZAP that the object itself became.
func (o *Object) extras(ctx context.Context, fields map[string]*uint64) error {
	if !IsZAP(o.Type) {
		return nil
	}
	z, err := o.ZAP(ctx)
	if err != nil {
		return err
	}
	for name, field := range fields {
		switch e, err := z.Lookup(ctx, name); {
		case err == nil:
			*field = e.Uint64()
		case !errors.Is(err, ErrNotFound):
			return err
		}
	}
	return nil
}

// DSLDataset reads a dataset; its name stays empty.
func (p *Pool) DSLDataset(ctx context.Context, id uint64) (*DSLDataset, error) {
	o, err := p.MOS.Object(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("DSL dataset: %w", err)
	}
	return o.dslDataset(ctx)
}

func (o *Object) dslDataset(ctx context.Context) (*DSLDataset, error) {
	const after = dslDatasetWords + BlkPtrSize/8
	w := o.bonusWords()
	if o.BonusType != TypeDSLDataset || len(w) < after+3 {
		return nil, fmt.Errorf("DSL dataset %v: %w", o, corrupt("a bonus of type %d with %d words", o.BonusType, len(w)))
	}
	d := &DSLDataset{
		ID: o.ID, Dir: w[0], PrevSnap: w[1], PrevSnapTXG: w[2], NextSnap: w[3], SnapNames: w[4], Children: w[5],
		CreationTime: w[6], CreationTXG: w[7], Deadlist: w[8], ReferencedBytes: w[9], CompressedBytes: w[10],
		UncompressedBytes: w[11], UniqueBytes: w[12], FSIDGUID: w[13], GUID: w[14], Flags: w[15],
		Root: decodeBlkPtr(o.Bonus[8*dslDatasetWords:], o.Order), NextClones: w[after], Props: w[after+1], UserRefs: w[after+2],
	}
	return d, o.extras(ctx, map[string]*uint64{"com.delphix:remap_deadlist": &d.RemapDeadlist})
}

// Since is the txg that a dataset's own blocks are younger than. What is older its snapshots have, too. The snapshot before it
// knows; what the dataset says is taken where that one cannot be read.
func (p *Pool) Since(ctx context.Context, d *DSLDataset) uint64 {
	if d.PrevSnap == 0 {
		return d.PrevSnapTXG
	}
	prev, err := p.DSLDataset(ctx, d.PrevSnap)
	if err != nil || !prev.Snapshot() {
		return d.PrevSnapTXG
	}
	return prev.CreationTXG
}

// OpenDataset opens the object set of a dataset. One without any, such as $MOS, gives ErrNotFound.
func (p *Pool) OpenDataset(ctx context.Context, d *DSLDataset) (*ObjSet, error) {
	if d.Root.Hole() {
		return nil, fmt.Errorf("object set of dataset %d: %w", d.ID, ErrNotFound)
	}
	return p.OpenObjSet(ctx, d.Root, d.ID)
}

// maxDatasets is how many datasets a pool may have, snapshots included: 600 MiB for a walk.
const maxDatasets = 1 << 21

// maxDatasetDepth is how deep datasets may be nested (zfs_max_dataset_nesting is 50).
const maxDatasetDepth = 256

// Datasets are all datasets that have a path, snapshots behind what they are snapshots of, in the order of their names.
// Those of ZFS's own, whose names begin with a dollar or percent sign, are among them. What could not be read is told in
// the error; the rest is returned with it.
func (p *Pool) Datasets(ctx context.Context) ([]*DSLDataset, error) {
	root, err := p.ObjectOf(ctx, "root_dataset")
	if err != nil {
		return nil, err
	}
	w := &datasetWalk{pool: p, seen: map[uint64]bool{}}
	w.dir(ctx, root, 0, p.Name, 0)
	return w.found, errors.Join(w.problems...)
}

type datasetWalk struct {
	pool     *Pool
	seen     map[uint64]bool // objects, so that a forged tree is walked once
	found    []*DSLDataset
	problems []error
}

func (w *datasetWalk) bad(name string, err error) bool {
	if err != nil && len(w.problems) < maxWalkProblems {
		w.problems = append(w.problems, fmt.Errorf("%s: %w", name, err))
	}
	return err != nil
}

// maxWalkProblems is how many problems a walk tells of.
const maxWalkProblems = 100

// maxDatasetName is how long a name may be, so that names take bounded memory (ZFS_MAX_DATASET_NAME_LEN is 256).
const maxDatasetName = 1024

// full says that no more datasets are taken.
func (w *datasetWalk) full(name string) bool {
	switch {
	case len(name) > maxDatasetName:
		return w.bad(name[:maxDatasetName], corrupt("a name of %d bytes", len(name)))
	case len(w.found) >= maxDatasets:
		return w.bad(name, unsupported("more than %d datasets", maxDatasets))
	}
	return false
}

func (w *datasetWalk) dir(ctx context.Context, id, parent uint64, name string, depth int) {
	if w.full(name) {
		return
	}
	if depth > maxDatasetDepth || w.seen[id] {
		w.bad(name, corrupt("DSL directory %d is met again", id))
		return
	}
	w.seen[id] = true
	d, err := w.pool.DSLDir(ctx, id)
	if w.bad(name, err) || ctx.Err() != nil {
		return
	}
	if d.Parent != parent {
		w.bad(name, corrupt("DSL directory %d is found in %d and says that it is in %d", id, parent, d.Parent))
	}
	if d.HeadDataset != 0 { // $MOS and $FREE have none
		w.head(ctx, d.HeadDataset, d.ID, name)
	} else if d.Origin != 0 {
		w.bad(name, corrupt("DSL directory %d has no dataset, and is a clone of dataset %d", id, d.Origin))
	}
	if d.ChildDirs == 0 {
		return
	}
	there := map[string]bool{}
	for _, e := range w.entries(ctx, d.ChildDirs, name) {
		there[e.Name] = true
		w.dir(ctx, e.Uint64(), d.ID, name+"/"+printable.Line(e.Name), depth+1)
	}
	for _, special := range []struct {
		name  string
		since uint64
	}{{"$MOS", 0}, {"$ORIGIN", versionOrigin}, {"$FREE", versionDeadlists}} {
		if depth == 0 && !there[special.name] && w.pool.Uberblock.Version >= special.since {
			w.bad(name, corrupt("there is no %s, without which no import succeeds", special.name))
		}
	}
}

func (w *datasetWalk) head(ctx context.Context, id, dir uint64, name string) {
	d := w.dataset(ctx, id, dir, name)
	if d == nil || d.SnapNames == 0 {
		return
	}
	for _, e := range w.entries(ctx, d.SnapNames, name) {
		w.dataset(ctx, e.Uint64(), dir, name+"@"+printable.Line(e.Name))
	}
}

func (w *datasetWalk) dataset(ctx context.Context, id, dir uint64, name string) *DSLDataset {
	if w.full(name) {
		return nil
	}
	if w.seen[id] {
		w.bad(name, corrupt("DSL dataset %d is met again", id))
		return nil
	}
	w.seen[id] = true
	d, err := w.pool.DSLDataset(ctx, id)
	if w.bad(name, err) {
		return nil
	}
	if d.Dir != dir {
		w.bad(name, corrupt("DSL dataset %d is found in directory %d and says that it is in %d", id, dir, d.Dir))
	}
	d.Name = name
	w.found = append(w.found, d)
	return d
}

// entries are those of a ZAP, by name.
func (w *datasetWalk) entries(ctx context.Context, id uint64, name string) []ZAPEntry {
	z, err := w.pool.MOS.ZAP(ctx, id)
	if w.bad(name, err) {
		return nil
	}
	var all []ZAPEntry
	for e, err := range z.All(ctx) {
		if !w.bad(name, err) {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b ZAPEntry) int {
		switch {
		case a.Name < b.Name:
			return -1
		case a.Name > b.Name:
			return 1
		}
		return 0
	})
	return all
}
