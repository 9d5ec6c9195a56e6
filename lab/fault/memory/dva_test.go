package memory

import (
	"slices"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// block is a plain block pointer of one DVA.
func block(vdev uint32, offset, asize uint64) ondisk.BlkPtr {
	return ondisk.BlkPtr{DVA: [3]ondisk.DVA{ondisk.NewDVA(vdev, offset, asize, false)}}
}

func bitsOf(choice []candidate) (bits []int) {
	for _, c := range choice {
		bits = append(bits, c.bit)
	}
	return bits
}

func TestLook(t *testing.T) {
	const size = 0x8000 // bit 6 of the offset in sectors
	type free struct {
		txg uint64
		bp  ondisk.BlkPtr
	}
	tests := []struct {
		name  string
		freed []free
		last  free
		want  []int
	}{
		{"nothing was freed before", nil, free{1, block(0, 0x10000, size)}, nil},
		{"the neighbour one bit away", []free{{1, block(0, 0x18000, size)}}, free{1, block(0, 0x10000, size)}, []int{6}},
		{"a neighbour two bits away", []free{{1, block(0, 0x18000, size)}}, free{1, block(0, 0x20000, size)}, nil},
		{"of another txg", []free{{1, block(0, 0x18000, size)}}, free{2, block(0, 0x10000, size)}, nil},
		{"on another vdev", []free{{1, block(1, 0x18000, size)}}, free{1, block(0, 0x10000, size)}, nil},
		{"several", []free{{1, block(0, 0x18000, size)}, {1, block(0, 0x30000, size)}}, free{1, block(0, 0x10000, size)}, []int{6, 8}},
		{
			"a part of a larger one", []free{{1, block(0, 0x20000, 0x20000)}}, free{1, block(0, 0x8000, size)}, []int{8},
		},
		{
			"bits below the alignment are left alone", []free{{1, block(0, 0x11000, 0x1000)}}, free{1, block(0, 0x10000, 0x1000)}, []int{3},
		},
		{
			"a gang block frees its header alone, elsewhere",
			[]free{{1, ondisk.BlkPtr{DVA: [3]ondisk.DVA{ondisk.NewDVA(0, 0x18000, size, true)}}}}, free{1, block(0, 0x10000, size)}, nil,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var h hunt
			for _, f := range tt.freed {
				h.hits++
				h.look(f.txg, f.bp)
			}
			if got := bitsOf(h.look(tt.last.txg, tt.last.bp)); !slices.Equal(got, tt.want) {
				t.Errorf("bits %v, want %v", got, tt.want)
			}
		})
	}
}
