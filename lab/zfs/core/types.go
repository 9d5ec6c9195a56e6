package core

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"

	"github.com/vdevil/vdevil/lab/kernel"
)

// typeNames are the types that this package knows more of than C does, each with the names it has had, newest first.
func typeNames() [][]string {
	return [][]string{
		{"spa_t"}, {"vdev_t"}, {"metaslab_t"}, {"uberblock_t"}, {"zio_t"}, {"zio_link_t"},
		{"zfs_range_tree_t", "range_tree_t"},
		{"zfs_range_seg32_t", "range_seg32_t"},
		{"zfs_range_seg64_t", "range_seg64_t"},
		{"zfs_range_seg_gap_t", "range_seg_gap_t"},
		{"zfs_btree_t"}, {"zfs_btree_hdr_t"}, {"zfs_btree_core_t"}, {"zfs_btree_leaf_t"},
		{"metaslab_rt_arg_t"},
		{"dsl_pool_t"}, {"dsl_dataset_t"}, {"dsl_dir_t"}, {"dsl_deadlist_t"}, {"dsl_deadlist_entry_t"},
		{"dsl_dir_phys_t"}, {"dsl_dataset_phys_t"}, {"dsl_deadlist_phys_t"},
		{"objset_t"}, {"objset_phys_t"}, {"dnode_t"}, {"dnode_phys_t"}, {"blkptr_t"}, {"dva_t"},
		{"dmu_buf_impl_t"}, {"dmu_buf_t"}, {"dbuf_dirty_record_t"}, {"dmu_object_type_t"},
		{"arc_buf_hdr_t"}, {"arc_buf_t"}, {"abd_t"}, {"struct scatterlist"}, {"struct page"},
		{"space_map_t"}, {"space_map_phys_t"}, {"bpobj_t"}, {"bpobj_phys_t"}, {"bplist_t"}, {"bplist_entry_t"},
		{"ddt_t"}, {"ddt_entry_t"}, {"ddt_log_t"}, {"ddt_log_entry_t"}, {"brt_vdev_t"}, {"brt_entry_t"},
		{"uint8_t"}, {"uint64_t"},
	}
}

func (z *ZFS) nameTypes() {
	z.named, z.kinds, z.words = map[string]kernel.Type{}, map[string]string{}, map[string]string{}
	for _, names := range typeNames() {
		for _, name := range names {
			t, err := z.types.Named(name)
			if err != nil {
				continue
			}
			z.named[names[0]], z.words[names[0]] = t, name
			z.kinds[name], z.kinds[t.Base().String()] = names[0], names[0]
			break
		}
	}
	delete(z.kinds, anonymous)
}

// anonymous is how a struct without a tag is written; only its typedefs tell such ones apart.
const anonymous = "struct {...}"

// typed is a type by the newest of its names.
func (z *ZFS) typed(name string) (kernel.Type, error) {
	if t, ok := z.named[name]; ok {
		return t, nil
	}
	return kernel.Type{}, fmt.Errorf("type %s: %w", name, kernel.ErrUnknown)
}

// has says whether this version knows a type of typeNames.
func (z *ZFS) has(name string) bool { return z.named[name] != kernel.Type{} }

// kind is the newest name of a type if this package knows more of it than C does, otherwise empty. Types are told by their
// names, as compilation units may disagree about what is in one.
func (z *ZFS) kind(t kernel.Type) string {
	for ; t.Kind() == kernel.Typedef || t.Kind() == kernel.Qualified; t = t.Elem() {
		if name, ok := z.kinds[t.Name()]; ok && t.Kind() == kernel.Typedef {
			return name
		}
	}
	return z.kinds[t.String()]
}

// word names a type as this version does: by its typedef where there is one.
func (z *ZFS) word(t kernel.Type) string {
	if name := z.words[z.kind(t)]; name != "" {
		return name
	}
	return t.String()
}

// sameType says whether a name that a user gave means the type t: "blkptr", "blkptr_t", "struct blkptr".
func (z *ZFS) sameType(name string, t kernel.Type) bool {
	if t.Base().Kind() != kernel.Struct && t.Base().Kind() != kernel.Union {
		return false
	}
	if kind := z.kind(t); kind != "" && (name == kind || name+"_t" == kind) {
		return true
	}
	if name == t.Base().Name() {
		return true
	}
	for _, n := range []string{name, name + "_t", "struct " + name, "union " + name} {
		if named, err := z.types.Named(n); err == nil && (named.Base() == t.Base() || z.kind(named) != "" && z.kind(named) == z.kind(t)) {
			return true
		}
	}
	return false
}

// errAbsent is wrapped by errors that say that there is nothing of what was asked for at this instant: an empty tree, a
// NULL pointer, a number beyond the last.
var errAbsent = errors.New("absent")

// absentError says what is there instead.
type absentError struct{ text string }

func (e absentError) Error() string   { return e.text }
func (absentError) Is(err error) bool { return err == errAbsent }

func absent(format string, args ...any) error { return absentError{fmt.Sprintf(format, args...)} }

// are lists what exists, for an error that says what does not: "are 3: a, b, c".
func are(names []string) string {
	const most = 12
	switch {
	case len(names) == 0:
		return "is none"
	case len(names) == 1:
		return "is " + names[0]
	case len(names) > most:
		return fmt.Sprintf("are %d: %s, ...", len(names), strings.Join(names[:most], ", "))
	}
	return "are " + strings.Join(names, ", ")
}

// ranges writes numbers in ascending order as "0-3, 7".
func ranges(keys []int64) []string {
	var out []string
	for i := 0; i < len(keys); {
		end := i
		for end+1 < len(keys) && keys[end+1] == keys[end]+1 {
			end++
		}
		if end == i {
			out = append(out, fmt.Sprint(keys[i]))
		} else {
			out = append(out, fmt.Sprintf("%d-%d", keys[i], keys[end]))
		}
		i = end + 1
	}
	return out
}

// nearest are the names most like a wrong one, for people who mistyped.
func nearest(name string, names []string) []string {
	const most = 8
	names = slices.Clone(names)
	slices.SortStableFunc(names, func(a, b string) int {
		return levenshtein.ComputeDistance(name, a) - levenshtein.ComputeDistance(name, b)
	})
	return names[:min(most, len(names))]
}
