package ops

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// Feature is something of ZFS that programs use or leave alone.
type Feature string

// features say of each what it does in the beginning and in between.
var features = []struct {
	name Feature
	// begins is done before anything else, shapes are properties that the first dataset may have.
	begins []string
	// near has what makes a file do so with the last one every second time.
	near   bool
	shapes []string
	// gives is one of its operations, nil where there is none to do now.
	gives []func(*generator) []string
}{
	// What writes costs little beside what asks zfs or zpool, and a table without duplicates is of no use.
	{name: "dedup", shapes: []string{"dedup=on", "dedup=verify"}, gives: append(slices.Repeat([]func(*generator) []string{(*generator).twice}, 6),
		func(g *generator) []string { return g.setting("dedup=on", "dedup=off") },
	)},
	{name: "reflink", begins: []string{"parameter zfs_bclone_enabled 1", "parameter zfs_bclone_wait_dirty 1"}, gives: []func(*generator) []string{
		(*generator).reflink, (*generator).reflink, (*generator).copied, (*generator).copied, (*generator).synced, // only what is on the disks is shared
	}},
	// Since 2.4 a gang header is as large as a sector: a threshold below would gang the headers.
	{name: "gang", begins: []string{"parameter metaslab_force_ganging 20000", "parameter metaslab_force_ganging_pct 100"}, gives: []func(*generator) []string{
		func(g *generator) []string {
			return []string{"parameter", "metaslab_force_ganging_pct", g.one("100", "50", "0")}
		},
		func(g *generator) []string {
			return []string{"parameter", "metaslab_force_ganging", g.one("20000", "40000", "100000")}
		},
	}},
	{name: "snapshot", gives: []func(*generator) []string{
		(*generator).snapshot, (*generator).snapshot, (*generator).unsnapshot, (*generator).held,
	}},
	{name: "clone", gives: []func(*generator) []string{
		(*generator).snapshot, (*generator).clone, (*generator).clone, (*generator).promote, (*generator).destroy,
	}},
	{name: "rollback", gives: []func(*generator) []string{
		(*generator).snapshot, func(g *generator) []string { return g.with("rollback", g.m.Snapshots()) },
	}},
	{name: "send", gives: []func(*generator) []string{(*generator).snapshot, (*generator).send, (*generator).send, (*generator).destroy}},
	{name: "hole", gives: []func(*generator) []string{(*generator).punch, (*generator).truncate}},
	{name: "map", gives: []func(*generator) []string{(*generator).mapped}},
	{name: "names", gives: []func(*generator) []string{(*generator).named, (*generator).attributed}},
	// What can be pruned is in the table, and not in a log before it, as soon as the txg is written.
	{name: "prune", begins: []string{"parameter zfs_dedup_log_txg_max 1", "parameter zfs_dedup_log_flush_entries_min 100000"}, shapes: []string{"dedup=on"},
		gives: []func(*generator) []string{
			(*generator).twice, (*generator).synced, func(g *generator) []string { return []string{"prune", g.one("100", "100", "50")} },
		},
	},
	{name: "encryption", shapes: []string{"encryption=on"}},
	{name: "compression", shapes: []string{"compression=zstd", "compression=zle"}, gives: []func(*generator) []string{
		func(g *generator) []string {
			return g.setting("compression=off", "compression=lz4", "compression=zstd")
		},
	}},
	{name: "copies", gives: []func(*generator) []string{
		func(g *generator) []string { return g.setting("copies=1", "copies=2", "copies=3") },
	}},
	{name: "recordsize", gives: []func(*generator) []string{
		func(g *generator) []string {
			return g.setting("recordsize=4k", "recordsize=16k", "recordsize=128k", "recordsize=1m")
		},
	}},
	{name: "checkpoint", gives: []func(*generator) []string{
		func(g *generator) []string { return []string{g.one("checkpoint", "discard")} },
	}},
	{name: "removal", gives: slices.Repeat([]func(*generator) []string{(*generator).spared}, 3)},
	{name: "reimport", gives: []func(*generator) []string{func(*generator) []string { return []string{"reimport"} }}},
	{name: "scrub", gives: []func(*generator) []string{func(g *generator) []string { return []string{g.one("scrub", "cancel-scrub")} }}},
	{name: "trim", gives: []func(*generator) []string{func(g *generator) []string { return []string{g.one("trim", "trim", "trim", "trim", "initialize")} }}}, // initialize takes long
	{name: "snapdir", gives: []func(*generator) []string{
		(*generator).snapshot, func(g *generator) []string { return g.with("browse", g.m.Snapshots()) },
	}},
	// What the next operation does is of a later transaction group than what is being written, mostly.
	{name: "syncing", near: true, gives: slices.Repeat([]func(*generator) []string{
		func(g *generator) []string { return []string{"begin-sync", g.one("0", "0", "300", "2000", "20000")} }, (*generator).read,
	}, 3)},
	{name: "disks", gives: slices.Repeat([]func(*generator) []string{(*generator).exchanged}, 3)},
	{name: "expansion", gives: slices.Repeat([]func(*generator) []string{(*generator).expanded}, 3)},
	{name: "pools", gives: []func(*generator) []string{(*generator).snapshot, (*generator).pooled, (*generator).pooled, (*generator).pooled}},
	{name: "resume", gives: []func(*generator) []string{(*generator).snapshot, (*generator).resent, (*generator).destroy}},
	{name: "moves", gives: []func(*generator) []string{(*generator).moved, (*generator).bookmarked}},
	// A log space map is written back to the metaslabs after a transaction group or two.
	{name: "flushing", begins: []string{"parameter zfs_unflushed_log_txg_max 1"}, gives: []func(*generator) []string{
		(*generator).synced, func(g *generator) []string {
			return []string{"parameter", "zfs_unflushed_log_txg_max", g.one("1", "2", "1000")}
		},
		func(g *generator) []string {
			return []string{"parameter", "zfs_keep_log_spacemaps_at_export", g.one("0", "1")}
		},
	}},
	// What ZFS can check itself: buffers that must not change, frees, histograms, metaslabs (zfs_debug.h).
	{name: "checks", begins: []string{"parameter zfs_flags 464"}},
	{name: "rewrite", gives: []func(*generator) []string{func(g *generator) []string { return []string{"rewrite", g.file()} }}},
}

// Features are all of them.
func Features() (names []Feature) {
	for _, f := range features {
		names = append(names, f.name)
	}
	return names
}

// Generate makes a program of so many operations, and what features ask for before them. The same seed gives the same program. Disks are those
// of the machine, layout the words of the pool's, some of them disks. Most operations can be done by what the ones before have left; a few
// must be refused.
func Generate(seed uint64, wanted []Feature, count int, place Place, layout, disks []string) Program {
	g := &generator{r: rand.New(rand.NewPCG(seed, 0)), disks: disks, raidz: slices.ContainsFunc(layout, func(word string) bool { return strings.HasPrefix(word, "raidz") })}
	inUse, spare := Split(disks, layout)
	g.m, g.spare = NewModel(place, inUse...), spare
	first := []string{"create", place.Pool + "/a"}
	gives := []func(*generator) []string{(*generator).written, (*generator).written, (*generator).filled, (*generator).removed, (*generator).removed, (*generator).synced}
	for _, f := range features {
		if !slices.Contains(wanted, f.name) {
			continue
		}
		for _, line := range f.begins {
			p, _ := Parse(line)
			g.add(p[0])
		}
		if len(f.shapes) > 0 {
			shape := g.one(f.shapes...)
			name, _, _ := strings.Cut(shape, "=")
			if !slices.ContainsFunc(first, func(p string) bool { return strings.HasPrefix(p, name+"=") }) { // each may be given once
				first = append(first, shape)
			}
		}
		gives = append(gives, f.gives...)
		g.near = g.near || f.near
	}
	g.words(first)
	for end := len(g.program) + count; len(g.program) < end; {
		if len(g.open()) == 0 { // all are gone
			g.words([]string{"create", place.Pool + "/" + g.name("a")})
			continue
		}
		g.words(gives[g.r.IntN(len(gives))](g))
	}
	return g.program
}

type generator struct {
	r       *rand.Rand
	m       *Model
	disks   []string // of the machine
	spare   []string // those that the pool began without
	raidz   bool     // the pool began as one
	program Program
	names   int    // given so far
	last    string // the path of the file that the last operation on one was for
	near    bool
}

// words adds an operation, if there are words for it. One that must be refused is kept once in a while.
func (g *generator) words(words []string) {
	if words == nil {
		return
	}
	o, err := newOp(words[0], words[1:]...)
	if err != nil {
		panic(err) // this package wrote it
	}
	if fate, _ := g.m.Foretell(o); fate != Refused || g.r.IntN(20) == 0 {
		g.add(o)
	}
}

func (g *generator) add(o Op) {
	fate, _ := g.m.Foretell(o)
	g.m.Note(o, fate != Refused)
	g.program = append(g.program, o)
	if len(o.Args) > 0 && strings.HasPrefix(o.Args[0], "/") {
		g.last = o.Args[0]
	}
}

func (g *generator) one(of ...string) string { return of[g.r.IntN(len(of))] }

// with is a word and one of the names, nil if there are none.
func (g *generator) with(word string, names []string) []string {
	if len(names) == 0 {
		return nil
	}
	return []string{word, g.one(names...)}
}

// name is a new one that begins with a letter.
func (g *generator) name(letter string) string {
	g.names++
	return letter + strconv.Itoa(g.names)
}

// open are the datasets that files can lie in.
func (g *generator) open() (names []string) {
	for _, name := range g.m.Datasets() {
		if !g.m.datasets[name].locked {
			names = append(names, name)
		}
	}
	return names
}

// path is a file, of few names so that they are met again.
func (g *generator) path() string {
	if g.near && g.r.IntN(2) == 0 && slices.Contains(g.m.Files(), g.last) {
		return g.last
	}
	return mountpoint(g.one(g.open()...)) + "/f" + strconv.Itoa(g.r.IntN(6))
}

// file is one that is there, every second time that of the last operation: what is not on the disks yet meets what comes next.
func (g *generator) file() string {
	files := g.m.Files()
	switch {
	case len(files) == 0:
		return g.path()
	case slices.Contains(files, g.last) && g.r.IntN(2) == 0:
		return g.last
	}
	return g.one(files...)
}

// extent is a place in a file and how long it is, mostly of whole blocks.
func (g *generator) extent() (offset, size string) {
	unit := []int{4 << 10, 16 << 10, 128 << 10}[g.r.IntN(3)]
	at, n := g.r.IntN(20)*unit, (1+g.r.IntN(12))*unit
	if g.r.IntN(4) == 0 {
		at, n = at+g.r.IntN(unit), n-g.r.IntN(unit)
	}
	return inUnits(at), inUnits(n)
}

// within is an extent of what a file has, mostly of whole blocks: what is cloned or freed is.
func (g *generator) within(path string) (offset, size string) {
	unit := []int{4 << 10, 128 << 10, 128 << 10, 128 << 10}[g.r.IntN(4)]
	_, f, _ := g.m.file(path)
	if f == nil || int(f.size) < unit {
		return g.extent()
	}
	blocks := int(f.size) / unit
	at := g.r.IntN(blocks)
	return inUnits(at * unit), inUnits((1 + g.r.IntN(blocks-at)) * unit)
}

func inUnits(n int) string {
	if n > 0 && n%(1<<10) == 0 {
		return fmt.Sprintf("%dK", n>>10)
	}
	return strconv.Itoa(n)
}

func (g *generator) written() []string {
	at, n := g.extent()
	return []string{"write", g.path(), at, n, strconv.Itoa(g.r.IntN(1000))}
}

func (g *generator) filled() []string {
	at, n := g.extent()
	return []string{"fill", g.path(), at, n, g.one("a", "b", "c")}
}

// twice writes what may have been written before, in whole blocks.
func (g *generator) twice() []string {
	return []string{"write", g.path(), "0", g.one("128K", "256K", "384K"), g.one("1", "2", "3")}
}

func (g *generator) removed() []string {
	return []string{"remove", g.file()}
}

func (g *generator) read() []string { return []string{"read", g.file()} }

func (g *generator) synced() []string {
	if g.r.IntN(4) == 0 {
		return []string{"fsync", g.file()}
	}
	return []string{"sync"}
}

func (g *generator) setting(properties ...string) []string {
	words := g.with("set", g.m.Datasets())
	if words == nil {
		return nil
	}
	return append(words, g.one(properties...))
}

func (g *generator) reflink() []string { return []string{"reflink", g.path(), g.file()} }

func (g *generator) copied() []string {
	from := g.file()
	offset, n := g.within(from)
	at := inUnits(g.r.IntN(8) * 128 << 10)
	if g.r.IntN(4) == 0 { // where no block begins
		at, _ = g.extent()
	}
	return []string{"copy", g.path(), at, from, offset, n}
}

func (g *generator) snapshot() []string {
	words := g.with("snapshot", g.m.Datasets())
	if words == nil {
		return nil
	}
	words[1] += "@" + g.name("s")
	return words
}

func (g *generator) unsnapshot() []string { return g.with("destroy-snapshot", g.m.Snapshots()) }

func (g *generator) held() []string {
	words := g.with(g.one("hold", "release"), g.m.Snapshots())
	if words == nil {
		return nil
	}
	return append(words, "keep")
}

func (g *generator) clone() []string {
	if names := g.m.Snapshots(); len(names) > 0 {
		from := g.one(names...)
		return []string{"clone", poolOf(from) + "/" + g.name("c"), from}
	}
	return nil
}

// promote leaves encrypted ones alone: their clones are not always mounted afterwards, and what they have is not known then.
func (g *generator) promote() []string {
	return g.with("promote", slices.DeleteFunc(g.m.Datasets(), func(name string) bool { return g.m.datasets[name].encrypted }))
}

func (g *generator) destroy() []string {
	if names := g.m.Datasets(); len(names) > 1 {
		return g.with("destroy", names)
	}
	return nil
}

// send sends the whole of a snapshot, or what came after the last one that the other side has.
func (g *generator) send() []string {
	names := g.m.Snapshots()
	if len(names) == 0 {
		return nil
	}
	snap := g.one(names...)
	from, s := g.m.find(snap)
	flags := g.one("-", "-L", "-c", "-Lec")
	if from.encrypted {
		flags = g.one("-", "-w")
	}
	for _, to := range g.m.Datasets() {
		d := g.m.datasets[to]
		if d == from || len(d.snaps) == 0 {
			continue
		}
		for _, base := range from.snaps {
			if base.stamp == d.snaps[len(d.snaps)-1].stamp && base != s && d.snap(s.name) == nil {
				return []string{"send", snap, to, flags, "@" + base.name}
			}
		}
	}
	return []string{"send", snap, g.m.place.Pool + "/" + g.name("r"), flags, "-"}
}

// resent sends the whole of a snapshot in two parts.
func (g *generator) resent() []string {
	words := g.with("resend", g.m.Snapshots())
	if words == nil {
		return nil
	}
	return append(words, g.m.place.Pool+"/"+g.name("r"), g.one("10K", "50K", "200K", "1M"))
}

// pooled makes another pool, or sends something to it.
func (g *generator) pooled() []string {
	const other = "other"
	if g.m.pools[other] == "" {
		free := g.free()
		if len(free) == 0 {
			return nil
		}
		return []string{"pool", other, g.one(free...)}
	}
	names := g.m.Snapshots()
	if len(names) == 0 {
		return nil
	}
	return []string{"send", g.one(names...), other + "/" + g.name("r"), g.one("-", "-L", "-Lec"), "-"}
}

// exchanged changes which disks a pool has, and leaves it as much room.
func (g *generator) exchanged() []string {
	disk, free := g.one(slices.Sorted(maps.Keys(g.m.disks))...), g.free()
	if len(free) == 0 {
		return []string{"detach", disk}
	}
	switch g.r.IntN(3) {
	case 0:
		return []string{"attach", disk, g.one(free...)}
	case 1:
		return []string{"replace", disk, g.one(free...)}
	}
	return []string{"detach", disk}
}

// expanded makes a raidz wider.
func (g *generator) expanded() []string {
	if !g.raidz {
		return nil
	}
	return g.with("expand", g.free())
}

// free are the disks of the machine that no pool has.
func (g *generator) free() (disks []string) {
	for _, d := range g.disks {
		if !g.m.disks[d] && !slices.Contains(slices.Collect(maps.Values(g.m.pools)), d) {
			disks = append(disks, d)
		}
	}
	return disks
}

func (g *generator) moved() []string {
	words := g.with("move", g.m.Datasets())
	if words == nil {
		return nil
	}
	return append(words, poolOf(words[1])+"/"+g.name("m"))
}

func (g *generator) bookmarked() []string {
	words := g.with("bookmark", g.m.Snapshots())
	if words == nil {
		return nil
	}
	return append(words, g.name("b"))
}

// spared gives the pool a spare disk, or takes it away again.
func (g *generator) spared() []string {
	words := g.with("add", g.spare)
	if words != nil && g.m.disks[words[1]] {
		words[0] = "evacuate"
	}
	return words
}

func (g *generator) punch() []string {
	path := g.file()
	at, n := g.within(path)
	return []string{"punch", path, at, n}
}

// truncate cuts a file, every second time where a block may end, or makes one with a hole.
func (g *generator) truncate() []string {
	const block = 128 << 10
	if size := g.r.IntN(2 << 20); g.r.IntN(2) == 0 {
		return []string{"truncate", g.path(), inUnits(size)}
	}
	return []string{"truncate", g.file(), inUnits(block * g.r.IntN(4))}
}

func (g *generator) mapped() []string {
	path := g.file()
	_, f, _ := g.m.file(path)
	if f == nil || f.size < 8192 {
		return nil
	}
	at := g.r.IntN(int(f.size) - 4096)
	return []string{"map", path, strconv.Itoa(at), strconv.Itoa(1 + g.r.IntN(min(64<<10, int(f.size)-at))), strconv.Itoa(g.r.IntN(1000))}
}

func (g *generator) named() []string {
	from := g.file()
	return []string{g.one("rename", "link"), mountpoint(datasetOf(from)) + "/f" + strconv.Itoa(g.r.IntN(6)), from}
}

func (g *generator) attributed() []string {
	return []string{"xattr", g.file(), g.one("x", "y"), g.one("10", "3K", "20K"), strconv.Itoa(g.r.IntN(100))}
}
