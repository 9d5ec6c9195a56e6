package bitmap

import (
	"fmt"
	"testing"
)

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
