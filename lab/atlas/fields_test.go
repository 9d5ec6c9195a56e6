package atlas

import (
	"fmt"
	"testing"
)

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

func TestFields(t *testing.T) {
	got := map[string]bool{}
	for _, f := range dnode().fields() {
		got[fmt.Sprintf("%s:%s", f.name, f.span)] = true
	}
	for _, want := range []string{
		"dn_type:0-7", "dn_pad2[0-2]:104-127", "dn_pad3[0]:256-319", "dn_pad3[3]:448-511",
		"dn_blkptr[0].blk_dva[0].dva_word[1] G:639", "dn_bonus[0-319]:1536-4095",
	} {
		if !got[want] {
			t.Errorf("no %s in %v", want, got)
		}
	}
}

func TestLabels(t *testing.T) {
	for _, c := range []struct{ above, label, want string }{
		{"", "dn_used", "dn_used"},
		{"dn_maxblkid", "dn_used", "dn_used"},
		{"dn_pad3[0]", "dn_pad3[1]", "dn_pad3[1]"},
		{"p[0].blk_dva[0].dva_word[0]", "p[0].blk_dva[0].dva_word[1]", "….dva_word[1]"},
		{"p[0].blk_dva[0].dva_word[1]", "p[0].blk_dva[1].dva_word[0]", "….blk_dva[1].dva_word[0]"},
		{"p[0].blk_dva[0].dva_word[1]", "p[0].blk_prop", "….blk_prop"},
		{"p[0].blk_prop", "p[1].blk_prop", "p[1].blk_prop"},
	} {
		if got := shorten(c.label, c.above); got != c.want {
			t.Errorf("%s below %s is %q, want %q", c.label, c.above, got, c.want)
		}
	}
}

func TestRanges(t *testing.T) {
	if got, want := ranges([]int{0, 1, 2, 7, 9, 10}), "0-2, 7, 9-10"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
