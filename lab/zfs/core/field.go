package core

import "strings"

// packed are the words into which OpenZFS packs several values: include/sys/spa.h, the diagrams above DVA_GET_ASIZE and
// BP_GET_LSIZE, whose names and letters these are. They are part of the on-disk format, the same in every version; debug
// info does not know them. Values are listed from the least significant bit on.
var packed = []struct {
	member string
	parts  []part
}{
	{"dva_word[0]", []part{{"ASIZE", 24}, {"GRID", 8}, {"vdev", 24}, {"pad", 8}}},
	{"dva_word[1]", []part{{"offset", 63}, {"G", 1}}},
	{"blk_prop", []part{
		{"LSIZE", 16}, {"PSIZE", 16}, {"comp", 7}, {"E", 1}, {"cksum", 8}, {"type", 8}, {"lvl", 5}, {"X", 1}, {"D", 1}, {"B", 1},
	}},
}

type part struct {
	name string
	bits int
}

// FieldName is the C path of a member, and after a space the name of the value that holds bit (0 to 63) of it if the
// member is a word into which OpenZFS packs several: "blk_dva[0].dva_word[1] offset".
func FieldName(path string, bit int) string {
	for _, w := range packed {
		if path != w.member && !strings.HasSuffix(path, "."+w.member) {
			continue
		}
		for _, p := range w.parts {
			if bit < p.bits {
				return path + " " + p.name
			}
			bit -= p.bits
		}
	}
	return path
}
