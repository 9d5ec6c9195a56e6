package guest

import (
	"slices"
	"testing"
)

// "leaked" is what zdb -by of 2.3.2 printed about a guest's pool; the others are made after the formats in cmd/zdb/zdb.c and
// module/zfs/range_tree.c.
func TestZDBFindings(t *testing.T) {
	const clean = "Verifying deleted livelist entries\nVerifying metaslab entries\n" +
		"\nTraversing all blocks to verify nothing leaked ...\n\n\n\tNo leaks (block sum matches space maps exactly)\n\n\tbp count:                    70\n"
	tests := []struct {
		name, output string
		want         []string
	}{
		{"clean", clean, nil},
		{"progress", "\rverifying concrete vdev 0, metaslab 0 of 15 ...\rloading concrete vdev 0, metaslab 1 of 15 ...", nil},
		{
			"leaked", "leaked space: vdev 0, offset 0x14600, size 530432\nblock traversal size 168960 != alloc 705536 (leaked 536576)\n",
			[]string{"leaked space: vdev 0, offset 0x14600, size 530432", "block traversal size 168960 != alloc 705536 (leaked 536576)"},
		},
		{
			"freed twice", "\tERROR: DOUBLE FREE: 14600:2000\n\rzfs: adding existent segment to range tree (offset=14600 size=2000)\nASSERT at x.c:1:f()\n",
			[]string{"ERROR: DOUBLE FREE: 14600:2000", "zfs: adding existent segment to range tree (offset=14600 size=2000)", "ASSERT at x.c:1:f()"},
		},
		{"not to be opened", "zdb: can't open 'tank': Input/output error\n", []string{"zdb: can't open 'tank': Input/output error"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := zdbFindings([]byte(tt.output)); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
