package core

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vdevil/vdevil/lab/kernel"
)

// Summary counts objects of a kind.
type Summary struct {
	Kind  string `json:"kind"`
	Count int    `json:"count"`
	// Bytes are those of the objects that are no part of another one, Dirty of those that are to be written.
	Bytes uint64 `json:"bytes"`
	Dirty uint64 `json:"dirty"`
}

// Summarize counts objects by kind, in the order of kinds.
func Summarize(objects []Object) []Summary {
	kinds := map[string]*Summary{}
	for _, o := range objects {
		s := kinds[o.Kind]
		if s == nil {
			s = &Summary{Kind: o.Kind}
			kinds[o.Kind] = s
		}
		s.Count++
		if o.Within == "" {
			s.Bytes += o.Size
			if o.Dirty {
				s.Dirty += o.Size
			}
		}
	}
	out := make([]Summary, 0, len(kinds))
	for _, s := range kinds {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b Summary) int { return cmp.Compare(a.Kind, b.Kind) })
	return out
}

// FieldAt is the path of a bit of the object, counted from the least significant of its first byte. Bits that belong to
// no member get the path of what they are in and " (padding)".
func (o Object) FieldAt(bit int) string {
	return joinField(o.Path, kernel.FieldAt(o.value.Type(), bit))
}

// joinField puts what kernel.FieldAt says behind a path.
func joinField(path, field string) string {
	switch {
	case field == "":
		return path
	case strings.HasPrefix(field, "["):
		return path + field
	case strings.HasPrefix(field, kernel.Padding):
		return path + " " + field
	}
	return path + "." + field
}

// Name is the path of what is at an address, down to the field, and the smallest object that has it. An address where no
// object is, is an error. Sections of the listing that fail are passed over.
func (z *ZFS) Name(ctx context.Context, addr uint64) (string, Object, error) {
	var best Object
	for o, err := range z.Objects(ctx) {
		if err == nil && addr-o.Addr < o.Size && (best.Kind == "" || o.Size < best.Size) {
			best = o
		}
	}
	if err := ctx.Err(); err != nil {
		return "", best, err
	}
	if best.Kind == "" {
		return "", best, absent("no object of ZFS is known at %#x", addr)
	}
	if best.DMUType == "DMU_OT_SPACE_MAP" && best.Kind == KindData {
		if path, ok := z.entryAt(best, addr); ok {
			return path, best, nil
		}
	}
	return best.FieldAt(8 * int(addr-best.Addr)), best, nil
}

// entryAt names an entry of a space map's block, which a path finds only where the block is that of the buffer.
func (z *ZFS) entryAt(o Object, addr uint64) (string, bool) {
	dbuf, ok := strings.CutSuffix(o.Path, ".data")
	if !ok || o.Level > 0 {
		return "", false
	}
	v, err := Scope{ZFS: z}.Resolve(dbuf)
	if err != nil || z.kind(v.Type()) != "dmu_buf_impl_t" {
		return "", false
	}
	all, err := z.entryItems(place{Value: v})
	if err != nil {
		return "", false
	}
	for i := range all.len() {
		e, err := all.at(i)
		if err == nil && addr-e.Addr() < uint64(e.Type().Size()) {
			return joinField(fmt.Sprintf("%s.entry[%d]", dbuf, i), kernel.FieldAt(e.Type(), 8*int(addr-e.Addr()))), true
		}
	}
	return "", false
}
