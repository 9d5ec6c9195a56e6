package forge_test

import (
	_ "embed"
	"flag"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/forge"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

//go:embed README.md
var readme string

const (
	recoverIt = "echo 1 >/sys/module/zfs/parameters/zfs_recover"
	removeAll = "rm -rf /tank/fs/* /tank/dedup/* /tank/clones/*; for i in 1 2 3 4; do zpool sync tank; done"
	writeSome = "for i in 1 2 3 4 5 6 7 8; do head -c 20000000 /dev/urandom >/tank/new$i; done; for i in 1 2 3 4; do zpool sync tank; done"
	rollback  = "zfs rollback tank/fs@b; zpool sync tank"

	importReadOnly = "udevadm settle; zpool import -o readonly=on -d /dev/disk/by-id tank"
	importRewind   = "udevadm settle; zpool import -F -d /dev/disk/by-id tank"
	secondOpinion  = `zdb -e -p /dev -b -y tank >/tmp/zdb 2>&1; echo zdb exit $?; tr '\r' '\n' </tmp/zdb |
		grep -e ERROR -e leaked -e '!=' -e segment -e ASSERT -e VERIFY -e mismatch -e error: -e 'No leaks' | head -5`
)

// The columns of the table in README.md that tell what OpenZFS makes of a forgery.
const (
	noColumn = iota
	importColumn
	lifeColumn
	recoverColumn
	zdbColumn
)

// lives are what a forged pool goes through, each in a fresh guest with a fresh copy. What is to help against a panic is only
// tried after one.
var lives = []struct {
	name       string
	column     int
	steps      []string
	afterPanic bool
}{
	{"import, all metaslabs loaded", importColumn, []string{loadAll, importIt}, false},
	{"life", lifeColumn, []string{importIt, scrub, destroyA, destroyB, writeSome, scrub, removeAll, exportIt, loadAll, importIt}, false},
	{"files first", noColumn, []string{importIt, removeAll, scrub, rollback, removeAll, destroyB, destroyA, exportIt, loadAll, importIt}, false},
	{"read-only", zdbColumn, []string{secondOpinion, importReadOnly, readAll, exportIt}, false},
	{"import -F", importColumn, []string{loadAll, importRewind}, true},
	{"zfs_recover=1", recoverColumn, []string{recoverIt, loadAll, importIt, scrub, destroyA, destroyB, writeSome, scrub, removeAll, exportIt, importIt}, true},
}

var (
	rows    = flag.String("rows", "^bpobj-duplicate$", "the forgeries of the table, a regular expression; all of them take hours")
	through = flag.String("lives", "^(import|life|read-only)", "what the forged pools of the table go through, a regular expression")
)

// What ZFS makes of each forgery is what the table in README.md says.
func TestTable(t *testing.T) {
	table := tableOf(readme)
	b := newBench(t, "")
	for _, f := range forge.All() {
		if !regexp.MustCompile(*rows).MatchString(f.Name) {
			continue
		}
		t.Run(f.Name, func(t *testing.T) {
			row, ok := table[f.Name]
			if !ok {
				t.Fatal("the table does not have it")
			}
			disk, record := b.forge(t, f.Name, ondisk.InPlace)
			t.Log(record.Effect)
			panicked := false
			for _, c := range lives {
				if c.afterPanic && !panicked || !regexp.MustCompile(*through).MatchString(c.name) {
					continue
				}
				l := b.enter(t, disk)
				printed, end := l.do(t, c.steps...)
				panicked = panicked || end != ""
				warned := l.warned()
				t.Logf("%s: %s, warned %v\n%s", c.name, end, warned, printed)
				if c.column != noColumn && !agrees(row[c.column], c.column, end, printed, warned) {
					t.Errorf("%s: the table says %q, this was %q, warned %v, printed\n%s", c.name, row[c.column], end, warned, printed)
				}
				if err := l.m.PowerOff(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// tableOf are the rows of the first table with a column "forgery", by forgery. A cell that says "the same" has what the cell
// before it says.
func tableOf(text string) map[string][]string {
	table := map[string][]string{}
	_, text, _ = strings.Cut(text, "| forgery |")
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == "" {
			break
		}
		line = strings.NewReplacer("**", "", "`", "").Replace(strings.TrimSpace(line))
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
			if i > 0 && strings.HasPrefix(cells[i], "the same") {
				cells[i] = cells[i-1]
			}
		}
		table[cells[0]] = cells
	}
	return table
}

// place is the function that a cell names: that of a signature, or the one that something was "in".
var place = regexp.MustCompile(`@(\w+)| in (\w+)`)

// agrees says whether what was seen is what a cell of the table says.
func agrees(cell string, column int, end, printed string, warned []string) bool {
	function := ""
	if m := place.FindStringSubmatch(cell); m != nil {
		function = m[1] + m[2]
	}
	class, _, _ := strings.Cut(cell, ",")
	switch {
	case column == zdbColumn:
		return zdbAgrees(cell, function, printed)
	case strings.HasPrefix(cell, "fine"):
		return end == ""
	case strings.HasPrefix(cell, "warned;"): // and then what became of it in some pools
		return len(warned) > 0
	case cell == "warned":
		return end == "" && len(warned) > 0
	default:
		return function != "" && strings.HasPrefix(end, class+": ") && strings.HasSuffix(end, fmt.Sprintf("@%s)", function))
	}
}

// quoted is what a cell says that was printed, ".." for what differs.
var quoted = regexp.MustCompile(`"([^"]*)"`)

func zdbAgrees(cell, function, printed string) bool {
	if strings.HasPrefix(cell, "segmentation fault") {
		return strings.Contains(printed, "zdb exit 139")
	}
	if strings.HasPrefix(cell, "aborts") && !strings.Contains(printed, "zdb exit 134") {
		return false
	}
	if function != "" {
		return strings.Contains(printed, function)
	}
	all := quoted.FindAllStringSubmatch(cell, -1)
	for _, q := range all {
		for part := range strings.SplitSeq(q[1], " .. ") {
			if !strings.Contains(printed, part) {
				return false
			}
		}
	}
	return len(all) > 0
}
