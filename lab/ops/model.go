package ops

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vdevil/vdevil/lab/oracle"
)

// Model is what a pool holds after the operations that were noted: datasets with their files, snapshots, clones. It foretells what must
// be refused. It knows what was asked for and what was refused, and nothing that ZFS says besides.
type Model struct {
	place      Place
	datasets   map[string]*dataset
	checkpoint bool              // there is one, or may be
	disks      map[string]bool   // that the pool has been given
	pools      map[string]string // that there are besides, and the disk of each
	stamp      int               // the last one
	told       map[string]bool   // datasets that the oracle was told of
}

// NewModel is that of a pool without a dataset of its own, on some of the disks of a machine.
func NewModel(place Place, disks ...string) *Model {
	m := &Model{place: place, datasets: map[string]*dataset{}, disks: map[string]bool{}, pools: map[string]string{}}
	for _, d := range disks {
		m.disks[d] = true
	}
	return m
}

type dataset struct {
	files  map[string]*file // by name; two names of one file share it
	snaps  []*snapshot      // the oldest first
	origin *snapshot        // of a clone
	// locked ones are not mounted, as their key is not there.
	locked    bool
	encrypted bool
	// touched files may be otherwise on the disks, under these names, and lost ones are what a power cut left of such: nobody knows.
	touched, lost map[string]bool
	// rekeyed ones have been promoted, or made room for that: whose key is theirs has changed, and clones of them are not always mounted.
	rekeyed bool
}

type snapshot struct {
	name  string // behind the @
	stamp int    // the same for what was sent and what was received
	files map[string]*file
	holds map[string]bool
}

// file is what a file has, as the changes that it was made by: bytes are made when somebody asks for them. Changes are never changed, so
// that copies share them.
type file struct {
	size    int64
	changes []change
	unknown bool // after an operation that failed half-way
}

// change puts bytes at an offset, or, without any, gives a file another size.
type change struct {
	at, size int64
	bytes    func() []byte
}

func (d *dataset) snap(name string) *snapshot {
	for _, s := range d.snaps {
		if s.name == name {
			return s
		}
	}
	return nil
}

// frozen copies files, so that what is done to one set is not done to the other. Names of one file stay names of one.
func frozen(files map[string]*file) map[string]*file {
	same, out := map[*file]*file{}, map[string]*file{}
	for name, f := range files {
		if same[f] == nil {
			c := *f
			same[f] = &c
		}
		out[name] = same[f]
	}
	return out
}

// Split parts the disks of a machine into those that a pool of some layout has and the others.
func Split(disks, layout []string) (inUse, spare []string) {
	for _, d := range disks {
		if slices.Contains(layout, d) {
			inUse = append(inUse, d)
		} else {
			spare = append(spare, d)
		}
	}
	return inUse, spare
}

// clones are the names of the datasets that began as a snapshot.
func (m *Model) clones(s *snapshot) (names []string) {
	for name, d := range m.datasets {
		if d.origin == s {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// find gives the dataset and the snapshot of a name such as tank/a@s1; nil for what is not there.
func (m *Model) find(name string) (*dataset, *snapshot) {
	name, snap, _ := strings.Cut(name, "@")
	d := m.datasets[name]
	if d == nil || snap == "" {
		return d, nil
	}
	return d, d.snap(snap)
}

// file gives the dataset of a path, nil if it is not mounted, and the file, nil if there is none.
func (m *Model) file(path string) (d *dataset, f *file, name string) {
	d, name = m.datasets[datasetOf(path)], path[strings.LastIndexByte(path, '/')+1:]
	if d == nil || d.locked {
		return nil, nil, name
	}
	return d, d.files[name], name
}

// Fate is what must become of an operation.
type Fate string

// The fates. Either is left open: a version may know an operation or not, a layout may allow it.
const (
	Succeeds Fate = "succeed"
	Refused  Fate = "be refused"
	Either   Fate = "succeed or be refused"
)

// Foretell says what must become of an operation that is done now, and why where it must be refused.
func (m *Model) Foretell(o Op) (Fate, string) {
	if m.atLost(o) {
		return Either, ""
	}
	return o.kind.foretell(m, o)
}

// Note takes in that an operation was done, or was refused.
func (m *Model) Note(o Op, done bool) {
	m.touch(o)
	switch {
	case m.atLost(o):
		m.lose(o)
	case done && o.kind.done != nil:
		o.kind.done(m, o)
	case !done && o.kind.failed != nil:
		o.kind.failed(m, o)
	}
	m.touch(o)
	if !done {
		return
	}
	if o.kind.waits {
		m.Synced()
	}
	if o.Word == "fsync" {
		if d, f, _ := m.file(o.arg(0)); f != nil {
			maps.DeleteFunc(d.touched, func(name string, _ bool) bool { return d.files[name] == f })
		}
	}
}

// touch notes that the files of an operation, by all their names, are not on the disks as they are.
func (m *Model) touch(o Op) {
	for i := range o.kind.changes {
		d, f, name := m.file(o.arg(i))
		if d == nil {
			continue
		}
		if d.touched == nil {
			d.touched = map[string]bool{}
		}
		d.touched[name] = true
		for other, g := range d.files {
			if g == f {
				d.touched[other] = true
			}
		}
	}
}

// Synced notes that everything is on the disks.
func (m *Model) Synced() {
	for _, d := range m.datasets {
		clear(d.touched)
	}
}

// Cut is a power cut: a file that was touched since it was on the disks may be as it was, or there under another name, or not at all.
// Datasets and snapshots are as they were, since what makes them waits for the disks. Other pools are not imported any more.
func (m *Model) Cut() {
	clear(m.pools)
	maps.DeleteFunc(m.datasets, func(name string, _ *dataset) bool { return poolOf(name) != m.place.Pool })
	for _, d := range m.datasets {
		for name := range d.touched {
			d.lose(name)
		}
		clear(d.touched)
	}
}

// Key is the key of encrypted datasets, if there are some, which a machine that was switched off has no more.
func (m *Model) Key() (file string, content []byte, needed bool) {
	for _, d := range m.datasets {
		needed = needed || d.encrypted
	}
	return key, make([]byte, 32), needed
}

// lose takes in an operation of which nobody knows what it met: its files are lost, too, and what they share with other names is unknown.
func (m *Model) lose(o Op) {
	for i := range o.kind.changes {
		d, f, name := m.file(o.arg(i))
		if d == nil {
			continue
		}
		if f != nil {
			f.unknown = true
		}
		d.lose(name)
	}
}

func (d *dataset) lose(name string) {
	delete(d.files, name)
	if d.lost == nil {
		d.lost = map[string]bool{}
	}
	d.lost[name] = true
}

// atLost says whether an operation is about a file of which nobody knows whether it is there.
func (m *Model) atLost(o Op) bool {
	for i, a := range o.kind.args {
		if a.name == "FILE" || a.name == "FROM" {
			if d, _, name := m.file(o.arg(i)); d != nil && d.lost[name] {
				return true
			}
		}
	}
	return false
}

// Reads is what an operation that reads a file must get; not so where it reads none, or nobody knows what it has.
func (m *Model) Reads(o Op) (path string, data []byte, ok bool) {
	if o.Word != "read" {
		return "", nil, false
	}
	_, f, _ := m.file(o.arg(0))
	if f == nil || f.unknown {
		return "", nil, false
	}
	return o.arg(0), f.bytes(), true
}

// Expect tells an oracle what all files of the datasets that operations made must have by now. Files of snapshots are where .zfs shows
// them.
func (m *Model) Expect(o *oracle.Oracle) {
	for name := range m.told {
		o.ForgetBelow(mountpoint(name))
	}
	m.told = map[string]bool{}
	for name, d := range m.datasets {
		o.ForgetBelow(mountpoint(name))
		m.told[name] = true
		if d.locked {
			continue
		}
		record(o, mountpoint(name), d.files)
		for _, s := range d.snaps {
			record(o, mountpoint(name)+"/.zfs/snapshot/"+s.name, s.files)
		}
	}
}

func record(o *oracle.Oracle, dir string, files map[string]*file) {
	for name, f := range files {
		if !f.unknown {
			o.Record(dir+"/"+name, f.bytes())
		}
	}
}

// Datasets and Snapshots are the names of what there is, in order.
func (m *Model) Datasets() []string { return slices.Sorted(maps.Keys(m.datasets)) }

// Snapshots are in the order of datasets, and of age.
func (m *Model) Snapshots() (names []string) {
	for _, d := range m.Datasets() {
		for _, s := range m.datasets[d].snaps {
			names = append(names, d+"@"+s.name)
		}
	}
	return names
}

// Files are the paths of all files that can be reached, those of snapshots not among them.
func (m *Model) Files() (paths []string) {
	for _, name := range m.Datasets() {
		if d := m.datasets[name]; !d.locked {
			for _, f := range slices.Sorted(maps.Keys(d.files)) {
				paths = append(paths, mountpoint(name)+"/"+f)
			}
		}
	}
	return paths
}

// overlay puts so many bytes into a file at an offset, behind zeros where it is shorter.
func (f *file) overlay(at, size int64, bytes func() []byte) {
	if size > 0 {
		f.change(change{at, size, bytes})
		f.size = max(f.size, at+size)
	}
}

func (f *file) resize(size int64) {
	f.change(change{at: size})
	f.size = size
}

func (f *file) change(c change) { f.changes = append(slices.Clip(f.changes), c) }

// bytes are the whole of it.
func (f *file) bytes() []byte {
	most := f.size
	for _, c := range f.changes {
		most = max(most, c.at+c.size)
	}
	out := make([]byte, 0, most)
	to := func(size int64) {
		old := int64(len(out))
		if out = out[:size]; size > old {
			clear(out[old:])
		}
	}
	for _, c := range f.changes {
		if c.bytes == nil {
			to(c.at)
			continue
		}
		to(max(int64(len(out)), c.at+c.size))
		copy(out[c.at:], c.bytes())
	}
	return out
}

// made is the file of a path, an empty one if there was none.
func (m *Model) made(path string) *file {
	d, f, name := m.file(path)
	if f == nil {
		f = &file{}
		d.files[name] = f
	}
	return f
}

// What operations foretell has these parts.

func (m *Model) atFile(o Op) (Fate, string) {
	if d, _, _ := m.file(o.arg(0)); d == nil {
		return Refused, fmt.Sprintf("no dataset %s is mounted", datasetOf(o.arg(0)))
	}
	return Succeeds, ""
}

func (m *Model) onFile(o Op) (Fate, string) {
	if fate, why := m.atFile(o); fate != Succeeds {
		return fate, why
	}
	if _, f, _ := m.file(o.arg(0)); f == nil {
		return Refused, "there is no file " + o.arg(0)
	}
	return Succeeds, ""
}

// ofTwo is about a file that is made of another one, which is the argument from.
func (m *Model) ofTwo(o Op, from int) (Fate, string) {
	_, source, _ := m.file(o.arg(from))
	if source == nil {
		return Refused, "there is no file " + o.arg(from)
	}
	if fate, why := m.atFile(o); fate != Succeeds {
		return fate, why
	}
	if _, f, _ := m.file(o.arg(0)); f == source {
		return Refused, o.arg(0) + " and " + o.arg(from) + " are one file"
	}
	return Succeeds, ""
}

func (m *Model) onDataset(o Op) (Fate, string) {
	if m.datasets[o.arg(0)] == nil {
		return Refused, "there is no dataset " + o.arg(0)
	}
	return Succeeds, ""
}

func (m *Model) onSnapshot(o Op) (Fate, string) {
	if _, s := m.find(o.arg(0)); s == nil {
		return Refused, "there is no snapshot " + o.arg(0)
	}
	return Succeeds, ""
}

func (m *Model) newDataset(name string) (Fate, string) {
	switch pool := poolOf(name); {
	case pool != m.place.Pool && m.pools[pool] == "":
		return Refused, "there is no pool " + pool
	case m.datasets[name] != nil:
		return Refused, "there is a dataset " + name
	}
	return Succeeds, ""
}

// beside is newDataset for one that must be of the same pool as another one.
func (m *Model) beside(name, other string) (Fate, string) {
	if poolOf(name) != poolOf(other) {
		return Refused, other + " is of another pool"
	}
	return m.newDataset(name)
}

// gone says why a snapshot cannot be destroyed, if it cannot.
func (m *Model) gone(s *snapshot) string {
	switch clones := m.clones(s); {
	case len(clones) > 0:
		return strings.Join(clones, " and ") + " began as @" + s.name
	case len(s.holds) > 0:
		return "@" + s.name + " is held"
	}
	return ""
}

// goneAll is gone for several snapshots.
func (m *Model) goneAll(snaps []*snapshot) string {
	for _, s := range snaps {
		if why := m.gone(s); why != "" {
			return why
		}
	}
	return ""
}
