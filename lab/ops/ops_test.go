package ops

import (
	"bytes"
	"compress/flate"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/oracle"
)

var place = Place{Pool: "tank", Seed: 7, Disk: func(name string) string { return "/dev/disk/by-id/virtio-" + name }}

// did notes the operations of a text as done, those with a ! in front as refused.
func did(t *testing.T, m *Model, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line, refused := strings.CutPrefix(strings.TrimSpace(line), "!")
		p, err := Parse(line)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range p {
			m.Note(o, !refused)
		}
	}
}

func TestParse(t *testing.T) {
	text := "# a comment\ncreate tank/a dedup=on encryption=on\n\n  write /tank/a/f1 4K 1M 17\nsend tank/a@s1 tank/r1 -Lec -\nsync\n"
	p, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	want := "create tank/a dedup=on encryption=on\nwrite /tank/a/f1 4K 1M 17\nsend tank/a@s1 tank/r1 -Lec -\nsync\n"
	if p.String() != want {
		t.Errorf("got %q", p)
	}
	if p[1].size(1) != 4096 || p[1].size(2) != 1<<20 {
		t.Errorf("%q has %d and %d", p[1], p[1].size(1), p[1].size(2))
	}
	for text, want := range map[string]string{
		"sync\nwrit /tank/a/f 0 1 1":      `line 2: there is no operation "writ"; write one of `,
		"write /tank/a/f1 0 1":            `line 1: "write /tank/a/f1 0 1" is not write FILE OFFSET SIZE SEED`,
		"sync now":                        `line 1: "sync now" is not sync`,
		"write /tank/f1 0 1 1":            `line 1: FILE of "write /tank/f1 0 1 1": "/tank/f1" is not the path of a file right in a dataset, such as /tank/a/f1; write write FILE OFFSET SIZE SEED`,
		"write /tank/a/f1 -1 1 1":         `line 1: OFFSET of "write /tank/a/f1 -1 1 1": "-1" is no number from 0 to 1099511627776; write write FILE OFFSET SIZE SEED`,
		"write /tank/a/f1 0 2000000M 1":   `"2000000M" is no number from 0 to 1073741824`,
		"create tank/a;reboot":            `"tank/a;reboot" is not a dataset right in the pool, such as tank/a`,
		"create tank/a dedup=$(reboot)":   `"dedup=$(reboot)" is not a property, such as recordsize=16k`,
		"send tank/a@s1 tank/b -L;w -":    `"-L;w" is not flags of zfs send, such as -Lec, or - for none`,
		"parameter ../../x 1":             `"../../x" is not a name, such as zfs_bclone_enabled`,
		"prune 0":                         `"0" is no number from 1 to 100`,
		"fill /tank/a/f1 0 1 aa":          `"aa" is not a letter`,
		"write /tank/a/../b 0 1 1":        `is not the path of a file right in a dataset`,
		"sync\n\n# x\nfrobnicate\nsync x": "line 4: ",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// TestForms expects each operation to be documented, and to do what it says in both ways.
func TestForms(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range Forms() {
		if f[1] == "" || !strings.Contains(string(readme), "| `"+f[0]+"` | "+f[1]+" |") {
			t.Errorf("README.md has no row of %s", f[0])
		}
	}
	for _, name := range Features() {
		if !strings.Contains(string(readme), "`"+string(name)+"`") {
			t.Errorf("README.md has nothing of feature %s", name)
		}
	}
	p, err := Parse(everything)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, o := range p {
		seen[o.Word] = true
		r := o.Request(place)
		if o.Shell(place) == "" || r.Do == "" || r.Do == "run" && len(r.Command) == 0 {
			t.Errorf("%s is %+v, in a shell %q", o, r, o.Shell(place))
		}
	}
	for _, w := range Words() {
		if !seen[w] {
			t.Errorf("no example of %s", w)
		}
	}
}

// What is written by hand has the same beginning for the same seed.
func TestRandom(t *testing.T) {
	print := func(seed, size int64) string {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", random(seed, size)).Output()
		if err != nil || int64(len(out)) != size {
			t.Fatalf("%d of %d bytes: %v", len(out), size, err)
		}
		return string(out)
	}
	long := print(2, 5000)
	if !strings.HasPrefix(long, print(2, 1023)) || strings.HasPrefix(long, print(3, 8)) {
		t.Error("a seed is not what the bytes follow from")
	}
	var packed bytes.Buffer
	w, _ := flate.NewWriter(&packed, flate.BestCompression)
	_, _ = w.Write([]byte(long))
	if w.Close() != nil || packed.Len() < len(long) {
		t.Errorf("%d bytes are %d when they are compressed", len(long), packed.Len())
	}
}

const everything = `create tank/a dedup=on
set tank/a recordsize=16k
write /tank/a/f1 0 128K 1
fill /tank/a/f2 4K 100 a
map /tank/a/f1 10 20 2
truncate /tank/a/f3 1M
punch /tank/a/f1 4K 8K
reflink /tank/a/f4 /tank/a/f1
copy /tank/a/f5 0 /tank/a/f1 0 64K
rename /tank/a/f6 /tank/a/f5
link /tank/a/f7 /tank/a/f6
remove /tank/a/f7
xattr /tank/a/f1 x 100 3
fsync /tank/a/f1
rewrite /tank/a/f1
read /tank/a/f1
snapshot tank/a@s1
browse tank/a@s1
hold tank/a@s1 keep
release tank/a@s1 keep
bookmark tank/a@s1 b1
clone tank/c tank/a@s1
promote tank/c
rollback tank/c@s1
send tank/c@s1 tank/r -Lec -
resend tank/a@s1 tank/r3 50K
move tank/r tank/r2
destroy tank/r2
destroy-snapshot tank/c@s1
checkpoint
discard
scrub
cancel-scrub
trim
initialize
expand v3
pool other v3
prune 100
add v3
evacuate v3
attach v0 v3
detach v3
replace v0 v3
parameter zfs_bclone_enabled 1
reimport
begin-sync 20
sync
`

// TestForetold expects what must be refused to be foretold, with its reason, after what was done before.
func TestForetold(t *testing.T) {
	const begin = `create tank/a
write /tank/a/f1 0 100 1
snapshot tank/a@s1
write /tank/a/f1 0 100 2
snapshot tank/a@s2
clone tank/c tank/a@s1
`
	for _, c := range []struct{ before, op, want string }{
		{"", "create tank/a", "be refused: there is a dataset tank/a"},
		{"", "write /tank/b/f1 0 1 1", "be refused: no dataset tank/b is mounted"},
		{"", "write /tank/c/f9 0 1 1", "succeed: "},
		{"", "punch /tank/a/f9 0 1", "be refused: there is no file /tank/a/f9"},
		{"", "punch /tank/a/f1 0 0", "be refused: a hole has a size"},
		{"", "map /tank/a/f1 50 51 1", "be refused: /tank/a/f1 is too short"},
		{"", "map /tank/a/f1 50 50 1", "succeed: "},
		{"", "reflink /tank/a/f2 /tank/a/f9", "be refused: there is no file /tank/a/f9"},
		{"", "reflink /tank/a/f1 /tank/a/f1", "be refused: /tank/a/f1 and /tank/a/f1 are one file"},
		{"link /tank/a/f2 /tank/a/f1", "copy /tank/a/f2 0 /tank/a/f1 0 1", "be refused: /tank/a/f2 and /tank/a/f1 are one file"},
		{"", "reflink /tank/c/f2 /tank/a/f1", "succeed or be refused: "},
		{"", "rename /tank/c/f2 /tank/a/f1", "be refused: they are files of two datasets"},
		{"", "link /tank/a/f1 /tank/a/f1", "be refused: there is a file /tank/a/f1"},
		{"remove /tank/a/f1", "remove /tank/a/f1", "be refused: there is no file /tank/a/f1"},
		{"", "snapshot tank/a@s1", "be refused: there is a snapshot tank/a@s1"},
		{"", "destroy-snapshot tank/a@s1", "be refused: tank/c began as @s1"},
		{"destroy tank/c", "destroy-snapshot tank/a@s1", "succeed: "},
		{"hold tank/a@s2 keep", "destroy-snapshot tank/a@s2", "be refused: @s2 is held"},
		{"hold tank/a@s2 keep\nrelease tank/a@s2 keep", "destroy-snapshot tank/a@s2", "succeed: "},
		{"hold tank/a@s2 keep", "hold tank/a@s2 keep", "be refused: the tag is there"},
		{"hold tank/a@s2 keep", "rollback tank/a@s1", "be refused: @s2 is held"},
		{"", "rollback tank/a@s1", "succeed: "},
		{"rollback tank/a@s1", "rollback tank/a@s2", "be refused: there is no snapshot tank/a@s2"},
		{"", "destroy tank/a", "be refused: tank/c began as @s1"},
		{"promote tank/c", "destroy tank/a", "succeed: "},
		{"promote tank/c", "destroy tank/c", "be refused: tank/a began as @s1"},
		{"promote tank/c", "snapshot tank/c@s1", "be refused: there is a snapshot tank/c@s1"},
		{"promote tank/c", "snapshot tank/a@s1", "succeed: "},
		{"", "promote tank/a", "be refused: tank/a is no clone"},
		{"snapshot tank/c@s1", "promote tank/c", "be refused: both have a snapshot @s1"},
		{"snapshot tank/c@s2", "promote tank/c", "succeed: "},
		{"", "send tank/a@s1 tank/r - -", "succeed: "},
		{"", "send tank/a@s1 tank/c - -", "succeed or be refused: "},
		{"", "send tank/a@s1 tank/a - -", "be refused: it would be received over itself"},
		{"send tank/a@s1 tank/r - -", "send tank/a@s1 tank/r - -", "be refused: tank/r has snapshots"},
		{"send tank/a@s1 tank/r - -", "send tank/a@s2 tank/r - @s1", "succeed: "},
		{"", "send tank/a@s2 tank/r - @s1", "be refused: there is no dataset tank/r"},
		{"", "send tank/a@s1 tank/r - @s2", "be refused: @s2 is not older"},
		{"create tank/e encryption=on\nsnapshot tank/e@s", "send tank/e@s tank/r -w -", "succeed or be refused: "},
		{"create tank/e encryption=on\nsnapshot tank/e@s\nsend tank/e@s tank/r -w -", "write /tank/r/f 0 1 1", "be refused: no dataset tank/r is mounted"},
		{"create tank/e encryption=on\nsnapshot tank/e@s\nsend tank/e@s tank/r -w -\n!clone tank/q tank/r@s", "clone tank/q tank/r@s", "be refused: there is a dataset tank/q"},
		{"create tank/e encryption=on", "set tank/e copies=3", "be refused: encrypted datasets cannot have three copies"},
		{"", "create tank/e copies=3 encryption=on", "be refused: encrypted datasets cannot have three copies"},
		{"create tank/e encryption=on", "set tank/e copies=2", "succeed: "},
		{"", "set tank/a copies=3", "succeed: "},
		{"create tank/e encryption=on\nsnapshot tank/e@s\nclone tank/f tank/e@s\npromote tank/f", "clone tank/q tank/f@s", "succeed or be refused: "},
		{"create tank/e encryption=on\nsnapshot tank/e@s\nclone tank/f tank/e@s\npromote tank/f\n!clone tank/q tank/f@s", "write /tank/q/f 0 1 1", "be refused: no dataset tank/q is mounted"},
		{"", "rewrite /tank/a/f1", "succeed or be refused: "},
		{"", "rewrite /tank/a/f9", "be refused: there is no file /tank/a/f9"},
		{"", "read /tank/a/f1", "succeed: "},
		{"remove /tank/a/f1", "read /tank/a/f1", "be refused: there is no file /tank/a/f1"},
		{"", "browse tank/a@s2", "succeed: "},
		{"", "browse tank/c@s1", "be refused: there is no snapshot tank/c@s1"},
		{"create tank/e encryption=on\nsnapshot tank/e@s\nsend tank/e@s tank/r -w -", "browse tank/r@s", "be refused: it is not mounted"},
		{"checkpoint", "checkpoint", "be refused: there is a checkpoint"},
		{"checkpoint\ndiscard", "discard", "be refused: there is no checkpoint"},
		{"add v3", "add v3", "be refused: the pool has the disk"},
		{"add v3\nevacuate v3", "add v3", "succeed or be refused: "},
		{"", "add v0", "be refused: the pool has the disk"},
		{"", "detach v0", "succeed or be refused: "},
		{"detach v0", "detach v1", "be refused: it is the last disk"},
		{"", "pool tank v3", "be refused: there is a pool tank"},
		{"", "pool other v0", "be refused: the pool has the disk"},
		{"", "pool other v3", "succeed or be refused: "},
		{"pool other v3", "pool other v4", "be refused: there is a pool other"},
		{"", "send tank/a@s1 other/r - -", "be refused: there is no pool other"},
		{"pool other v3", "send tank/a@s1 other/r - -", "succeed: "},
		{"pool other v3", "clone other/d tank/a@s1", "be refused: tank/a@s1 is of another pool"},
		{"pool other v3", "move tank/a other/a", "be refused: tank/a is of another pool"},
		{"pool other v3\nsend tank/a@s1 other/r - -", "clone other/d other/r@s1", "succeed: "},
		{"", "resend tank/a@s2 tank/r 50K", "succeed: "},
		{"", "resend tank/a@s3 tank/r 50K", "be refused: there is no snapshot tank/a@s3"},
		{"", "resend tank/a@s1 tank/c 50K", "be refused: there is a dataset tank/c"},
		{"create tank/e encryption=on\nsnapshot tank/e@s", "resend tank/e@s tank/r 50K", "succeed or be refused: "},
		{"move tank/a tank/b", "write /tank/a/f1 0 1 1", "be refused: no dataset tank/a is mounted"},
		{"move tank/a tank/b", "destroy-snapshot tank/b@s1", "be refused: tank/c began as @s1"},
	} {
		m := NewModel(place, "v0", "v1")
		did(t, m, begin+c.before)
		p, err := Parse(c.op)
		if err != nil {
			t.Fatal(err)
		}
		fate, why := m.Foretell(p[0])
		if got := fmt.Sprintf("%s: %s", fate, why); got != c.want {
			t.Errorf("%q, %s: must %s, want %s", c.before, c.op, got, c.want)
		}
	}
}

// TestFiles expects the model to know the bytes of files, of those in snapshots and clones, too.
func TestFiles(t *testing.T) {
	m := NewModel(place)
	did(t, m, `create tank/a
fill /tank/a/f1 0 10 a
snapshot tank/a@s1
fill /tank/a/f1 4 4 b
link /tank/a/f2 /tank/a/f1
truncate /tank/a/f2 7
punch /tank/a/f1 1 2
fill /tank/a/f3 2 1 c
clone tank/c tank/a@s1
copy /tank/c/f1 8 /tank/a/f3 0 9
reflink /tank/a/f4 /tank/c/f1
!reflink /tank/a/f4 /tank/a/f1
snapshot tank/c@s2
send tank/c@s2 tank/r - -
resend tank/c@s2 tank/r2 50K
rename /tank/r/f5 /tank/r/f1
fill /tank/a/f6 0 3 d
!fill /tank/a/f6 0 1 e
write /tank/a/f7 1 3 9
promote tank/c
snapshot tank/a@s3
rename /tank/a/f3 /tank/a/f7
snapshot tank/a@s4
rollback tank/a@s3
`)
	want := map[string]string{
		"/tank/a/f1":                   "a\x00\x00abbb",
		"/tank/a/f2":                   "a\x00\x00abbb",
		"/tank/a/f3":                   "\x00\x00c",
		"/tank/a/f4":                   "",
		"/tank/a/f7":                   "\x00" + string(oracle.Content(7, "9", 3)),
		"/tank/a/.zfs/snapshot/s3/f7":  "\x00" + string(oracle.Content(7, "9", 3)),
		"/tank/a/.zfs/snapshot/s3/f1":  "a\x00\x00abbb",
		"/tank/a/.zfs/snapshot/s3/f2":  "a\x00\x00abbb",
		"/tank/a/.zfs/snapshot/s3/f3":  "\x00\x00c",
		"/tank/a/.zfs/snapshot/s3/f4":  "",
		"/tank/c/f1":                   "aaaaaaaa\x00\x00c",
		"/tank/c/.zfs/snapshot/s1/f1":  "aaaaaaaaaa",
		"/tank/c/.zfs/snapshot/s2/f1":  "aaaaaaaa\x00\x00c",
		"/tank/r2/f1":                  "aaaaaaaa\x00\x00c",
		"/tank/r2/.zfs/snapshot/s2/f1": "aaaaaaaa\x00\x00c",
		"/tank/r/f5":                   "aaaaaaaa\x00\x00c",
		"/tank/r/.zfs/snapshot/s2/f1":  "aaaaaaaa\x00\x00c",
	}
	got, exact := &oracle.Oracle{}, &oracle.Oracle{}
	got.Record("/tank/a/f9", nil) // was there before
	m.Expect(got)
	for path, data := range want {
		exact.Record(path, []byte(data))
	}
	if !slices.Equal(got.Files(), exact.Files()) {
		t.Fatalf("got  %q\nwant %q", got.Files(), exact.Files())
	}
	for path, data := range want {
		name := path[strings.LastIndexByte(path, '/')+1:]
		for _, files := range sets(m, path) {
			if !bytes.Equal(files[name].bytes(), []byte(data)) {
				t.Errorf("%s has %q, want %q", path, files[name].bytes(), data)
			}
		}
	}
}

// sets are the files that a path leads to, of a dataset or a snapshot.
func sets(m *Model, path string) []map[string]*file {
	parts := strings.Split(path, "/")
	d := m.datasets[parts[1]+"/"+parts[2]]
	if len(parts) == 4 {
		return []map[string]*file{d.files}
	}
	return []map[string]*file{d.snap(parts[5]).files}
}

// TestGenerate expects programs that can be read, that are the same for the same seed, use what they are to use, and can be done for the
// most part.
// TestCut expects a power cut to leave what was on the disks, by whatever it got there, and nobody to be sure of the rest.
func TestCut(t *testing.T) {
	for _, c := range []struct{ program, files string }{
		{"write /tank/a/f1 0 4K 1", ""},
		{"write /tank/a/f1 0 4K 1\nsync", "f1"},
		{"write /tank/a/f1 0 4K 1\nset tank/b atime=off", "f1"}, // which waits for all of the pool
		{"write /tank/a/f1 0 4K 1\nbegin-sync 300\nparameter zfs_txg_timeout 5", ""},
		{"write /tank/a/f1 0 4K 1\nwrite /tank/a/f2 0 4K 1\nfsync /tank/a/f2", "f2"},
		{"write /tank/a/f1 0 4K 1\nlink /tank/a/f2 /tank/a/f1\nsync\npunch /tank/a/f2 0 4K\nwrite /tank/b/f3 0 4K 1", ""}, // by its other name, too
		{"write /tank/a/f1 0 4K 1\nsync\nreflink /tank/a/f2 /tank/a/f1\nread /tank/a/f1\nrewrite /tank/a/f1", "f1"},
		{"write /tank/a/f1 0 4K 1\nsync\nrename /tank/a/f2 /tank/a/f1\nrename /tank/a/f1 /tank/a/f2", ""},
		{"write /tank/a/f1 0 4K 1\nsync\nremove /tank/a/f1", ""},
		{"write /tank/a/f1 0 4K 1\nsync\n!write /tank/a/f1 0 4K 2", ""},
		{"write /tank/a/f1 0 4K 1\n!snapshot tank/a@s2", ""},
		{"write /tank/a/f1 0 4K 1\nsnapshot tank/a@s1\nremove /tank/a/f1", ".zfs/snapshot/s1/f1"},
	} {
		m := NewModel(place)
		did(t, m, "create tank/a\ncreate tank/b\n"+c.program)
		var o oracle.Oracle
		m.Expect(&o)
		m.Cut()
		m.Expect(&o)
		if got := strings.ReplaceAll(strings.Join(o.Files(), " "), "/tank/a/", ""); got != c.files {
			t.Errorf("%s\nis sure of %q, want %q", c.program, got, c.files)
		}
	}

	m := NewModel(place)
	did(t, m, "create tank/a\nwrite /tank/a/f2 0 4K 1\nsync\nwrite /tank/a/f1 0 4K 1")
	m.Cut()
	for text, want := range map[string]Fate{
		"read /tank/a/f1": Either, "remove /tank/a/f1": Either, "reflink /tank/a/f3 /tank/a/f1": Either,
		"read /tank/a/f2": Succeeds, "read /tank/a/f3": Refused, "link /tank/a/f2 /tank/a/f2": Refused, "snapshot tank/a@s1": Succeeds,
	} {
		p, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if fate, _ := m.Foretell(p[0]); fate != want {
			t.Errorf("after the cut %q must %s, want %s", text, fate, want)
		}
	}
	for _, rename := range []string{"rename /tank/a/f2 /tank/a/f1", "rename /tank/a/f1 /tank/a/f2"} {
		m := NewModel(place)
		did(t, m, "create tank/a\nwrite /tank/a/f2 0 4K 1\nlink /tank/a/f3 /tank/a/f2\nsync\nwrite /tank/a/f1 0 4K 1")
		m.Cut()
		did(t, m, rename)
		var o oracle.Oracle
		if m.Expect(&o); len(o.Files()) > 0 {
			t.Errorf("%s: sure of %q, which may not have been what was renamed", rename, o.Files())
		}
		p, _ := Parse("read /tank/a/f2")
		if fate, _ := m.Foretell(p[0]); fate != Either {
			t.Errorf("%s: f2 must %s", rename, fate)
		}
	}
}

func TestGenerate(t *testing.T) {
	used := map[string]int{}
	doable, all := 0, 0
	for seed := range uint64(200) {
		// What is encrypted is not promoted.
		features := slices.DeleteFunc(Features(), func(f Feature) bool { return f == "encryption" && seed%2 == 0 })
		p := Generate(seed, features, 40, place, []string{"raidz", "v0"}, []string{"v0", "v3"})
		again := Generate(seed, features, 40, place, []string{"raidz", "v0"}, []string{"v0", "v3"})
		back, err := Parse(p.String())
		if err != nil || p.String() != again.String() || back.String() != p.String() {
			t.Fatalf("seed %d: %v\n%s\n%s", seed, err, p, again)
		}
		m := NewModel(place, "v0")
		for _, o := range p {
			if o.Word == "create" && strings.Count(o.String(), "dedup=") > 1 {
				t.Errorf("%s gives a property twice", o)
			}
			used[o.Word]++
			all++
			fate, _ := m.Foretell(o)
			if fate != Refused {
				doable++
			}
			m.Note(o, fate != Refused)
		}
	}
	for _, w := range Words() {
		if used[w] == 0 {
			t.Errorf("%s was never generated", w)
		}
	}
	if doable*100 < all*90 || doable == all {
		t.Errorf("%d of %d operations can be done", doable, all)
	}
	for _, o := range Generate(1, []Feature{"hole"}, 100, place, nil, nil) {
		if !slices.Contains([]string{"create", "write", "fill", "remove", "sync", "fsync", "punch", "truncate"}, o.Word) {
			t.Errorf("%s is no part of holes", o)
		}
	}
}
