package core

import "testing"

// The expected places are those of the macros of include/sys/spa.h: DVA_GET_VDEV is BF64_GET(dva_word[0], 32, 24) and so on.
func TestFieldName(t *testing.T) {
	for _, c := range []struct {
		path      string
		low, high int
		want      string
	}{
		{"dva_word[0]", 0, 23, "dva_word[0] ASIZE"},
		{"dva_word[0]", 24, 31, "dva_word[0] GRID"},
		{"dva_word[0]", 32, 55, "dva_word[0] vdev"},
		{"dva_word[0]", 56, 63, "dva_word[0] pad"},
		{"blk_dva[2].dva_word[1]", 0, 62, "blk_dva[2].dva_word[1] offset"},
		{"blk_dva[2].dva_word[1]", 63, 63, "blk_dva[2].dva_word[1] G"},
		{"blk_prop", 0, 15, "blk_prop LSIZE"},
		{"blk_prop", 16, 31, "blk_prop PSIZE"},
		{"blk_prop", 32, 38, "blk_prop comp"},
		{"blk_prop", 39, 39, "blk_prop E"},
		{"blk_prop", 40, 47, "blk_prop cksum"},
		{"blk_prop", 48, 55, "blk_prop type"},
		{"blk_prop", 56, 60, "blk_prop lvl"},
		{"blk_prop", 61, 61, "blk_prop X"},
		{"blk_prop", 62, 62, "blk_prop D"},
		{"blk_prop", 63, 63, "blk_prop B"},
		{"blk_fill", 0, 63, "blk_fill"},
		{"my_blk_prop", 0, 63, "my_blk_prop"},
	} {
		for bit := c.low; bit <= c.high; bit++ {
			if got := FieldName(c.path, bit); got != c.want {
				t.Errorf("bit %d of %s is %q, want %q", bit, c.path, got, c.want)
			}
		}
	}
}
