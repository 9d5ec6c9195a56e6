package audit_test

import (
	"sync"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/audit"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// dedupWords are for what zdb has words of its own, where the dedup table is concerned.
type dedupWords struct {
	// alone is where blocks lie that the table has and nobody refers to. zdb knows of blocks from references alone, and calls
	// them leaked (zdb_count_block). They are in a log until it is flushed, without references; or for ever, with some, because
	// OpenZFS up to 2.4.4 believes of a gang block in a table of the older kind that its entry was pruned, compares the wrong one of
	// four places (ddt_entry_lookup_is_valid), and frees the header, no part, and no reference.
	alone []ondisk.Piece
	// extended is how many bytes more zdb counts for block pointers, because it puts all places of the entry into them: an entry
	// of a fast dedup table gets further copies when somebody writes the block again who wants more.
	extended uint64
}

func findDedupWords(t *testing.T, p *ondisk.Pool) (w dedupWords) {
	t.Helper()
	type key struct {
		at    ondisk.DVA
		birth uint64
	}
	entries, seen := map[key]ondisk.BlkPtr{}, map[key]bool{}
	if err := audit.Dedup(t.Context(), p, func(b ondisk.BlkPtr, _ uint64) error {
		entries[key{b.DVA[0], b.Birth()}] = b
		return nil
	}); err != nil {
		t.Error(err)
	}
	var mu sync.Mutex
	if err := p.Visit(t.Context(), &ondisk.Visitor{Workers: 2, Block: func(_ ondisk.Ref, b ondisk.BlkPtr) error {
		if b.Embedded() {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		k := key{b.DVA[0], b.Birth()}
		if e, ok := entries[k]; ok {
			seen[k] = true
			w.extended += e.ASize() - b.ASize()
		}
		return nil
	}}); err != nil {
		t.Error(err)
	}
	for k, e := range entries {
		if seen[k] {
			continue
		}
		all, err := p.Extents(t.Context(), e)
		if err != nil {
			t.Error(err)
		}
		w.alone = append(w.alone, all...)
	}
	return w
}

// covers says that a finding is about what only the dedup table has.
func (w *dedupWords) covers(f *audit.Finding) bool {
	return (f.Kind == audit.DDTCount || f.Kind == audit.FreeButReferenced) && w.overlap(f) == f.Size
}

// overlap is how many bytes of a finding are among what only the dedup table has.
func (w *dedupWords) overlap(f *audit.Finding) (bytes uint64) {
	for _, x := range w.alone {
		if from, to := max(x.Offset, f.Offset), min(x.Offset+x.Size, f.Offset+f.Size); x.VDev == f.VDev && from < to {
			bytes += to - from
		}
	}
	return bytes
}

// allocated is how many bytes the space maps have as allocated for what only the dedup table has.
func (w *dedupWords) allocated(findings []audit.Finding) (bytes uint64) {
	for _, x := range w.alone {
		bytes += x.Size
	}
	for i := range findings {
		if findings[i].Kind == audit.FreeButReferenced {
			bytes -= w.overlap(&findings[i])
		}
	}
	return bytes
}
