package ondisktest

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// Contents are what a pool has, by owner: what a pointer says but for checksum and compression, and of blocks that hold no
// pointers a hash of the data. Every block is read; one that cannot be read fails the test.
func Contents(t testing.TB, p *ondisk.Pool) map[ondisk.Ref]string {
	t.Helper()
	var mu sync.Mutex
	all := map[ondisk.Ref]string{}
	err := p.Visit(t.Context(), &ondisk.Visitor{Workers: 2, Block: func(r ondisk.Ref, b ondisk.BlkPtr) error {
		bare := b
		if b.Embedded() {
			bare = ondisk.BlkPtr{}
		} else {
			bare.Cksum = [4]uint64{}
			bare.Prop &^= 0x7f << 32 // the compression function
		}
		text := bare.String()
		tree := r.Kind == ondisk.RefTree || r.Kind == ondisk.RefSpill
		if tree && r.Level == 0 && b.Type() != ondisk.TypeDNode && !b.Encrypted() {
			block, err := p.Read(t.Context(), b)
			if err != nil {
				return fmt.Errorf("%v: %w", r, err)
			}
			text += fmt.Sprintf(" %x", sha256.Sum256(block.Data))
		}
		mu.Lock()
		defer mu.Unlock()
		all[r] = text
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Differences are the owners whose contents are not the same.
func Differences(before, after map[ondisk.Ref]string) (all []ondisk.Ref) {
	for r, text := range before {
		if after[r] != text {
			all = append(all, r)
		}
	}
	for r := range after {
		if _, ok := before[r]; !ok {
			all = append(all, r)
		}
	}
	return all
}
