package forge

import (
	"context"
	"fmt"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// owned is a block of data of a file.
type owned struct {
	ref     ondisk.Ref
	ptr     ondisk.BlkPtr
	dataset *ondisk.DSLDataset
	path    string
}

func (o owned) name() string {
	if o.path == "" {
		return o.dataset.Name
	}
	return o.dataset.Name + o.path
}

// maxBlocks is how many candidates are kept. More would only make the choice wider.
const maxBlocks = 64

// blocks are data blocks of files of the datasets that may be hit, heads only, which want; a sample that the seed gives.
func (f *forger) blocks(ctx context.Context, want func(owned) bool) ([]owned, error) {
	sets, err := f.w.Pool().Datasets(ctx)
	if err != nil {
		return nil, err
	}
	s := &sample{forger: f, want: want}
	for _, d := range sets {
		if d.Snapshot() || d.Root.Hole() || f.options.Dataset != "" && d.Name != f.options.Dataset {
			continue
		}
		if err := s.dataset(ctx, d); err != nil {
			return nil, err
		}
	}
	f.random.Shuffle(len(s.all), func(i, j int) { s.all[i], s.all[j] = s.all[j], s.all[i] })
	if f.options.File == "" {
		for i := range s.all {
			f.findPath(ctx, &s.all[i])
		}
	}
	return s.all, nil
}

// sample keeps some of the blocks that it is shown, each with the same chance.
type sample struct {
	*forger
	want func(owned) bool
	seen int
	all  []owned
}

func (s *sample) dataset(ctx context.Context, d *ondisk.DSLDataset) error {
	set, err := s.w.Pool().OpenDataset(ctx, d)
	if err != nil {
		return err
	}
	object, path := uint64(0), s.options.File
	if path != "" {
		if object, err = find(ctx, set, path); err != nil {
			s.reason = err
			return ctx.Err()
		}
	}
	return set.Visit(ctx, 0, &ondisk.Visitor{Workers: 1, Block: func(r ondisk.Ref, b ondisk.BlkPtr) error {
		data := r.Kind == ondisk.RefTree && r.Level == 0 && b.Type() == ondisk.TypePlainFile
		if data && !b.Embedded() && !b.Gang() && (object == 0 || r.Object == object) {
			s.show(owned{ref: r, ptr: b, dataset: d, path: path})
		}
		return nil
	}})
}

func (s *sample) show(o owned) {
	if !s.want(o) {
		return
	}
	if s.seen++; len(s.all) < maxBlocks {
		s.all = append(s.all, o)
	} else if i := s.random.IntN(s.seen); i < maxBlocks {
		s.all[i] = o
	}
}

// findPath fills in the path for messages; a block of a volume, or of a file that was deleted while open, has none.
func (f *forger) findPath(ctx context.Context, o *owned) {
	if set, err := f.w.Pool().OpenDataset(ctx, o.dataset); err == nil {
		if fs, err := set.FileSystem(ctx); err == nil {
			if path, err := fs.Path(ctx, o.ref.Object); err == nil {
				o.path = path
			}
		}
	}
}

// find gives the object of a path, by the paths of all objects.
func find(ctx context.Context, set *ondisk.ObjSet, path string) (uint64, error) {
	fs, err := set.FileSystem(ctx)
	if err != nil {
		return 0, err
	}
	for o, err := range set.Objects(ctx) {
		if err != nil {
			return 0, err
		}
		if o.Type != ondisk.TypePlainFile {
			continue
		}
		if got, err := fs.Path(ctx, o.ID); err == nil && got == path {
			return o.ID, nil
		}
	}
	return 0, fmt.Errorf("file %s: %w", path, ondisk.ErrNotFound)
}
