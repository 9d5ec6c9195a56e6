package ondisktest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// Pool is a pool that a script makes with an OpenZFS version ("" is the default one).
type Pool struct {
	Version, Script, Name string
	prefix                string // of the names of zdb's reports
}

// Pools are those of the scripts that are supported and whole.
func Pools() []Pool {
	return []Pool{
		{"", "single", "single", ""}, {"", "mirror", "glass", ""}, {"", "raidz1", "zr", ""}, {"", "raidz2", "zr", ""},
		{"", "raidz3", "zr", ""}, {"", "gang", "gang", ""}, {"", "gang", "hang", "hang."}, {"", "dedup", "fast", ""},
		{"", "dedup", "legacy", "legacy."}, {"", "cloned", "cloned", ""}, {"", "secret", "secret", ""},
		{"", "checkpoint", "check", ""}, {"", "removed", "removed", ""}, {"", "freeing", "freeing", ""}, {"", "live", "live", ""},
		{"", "old", "old", ""}, {"", "old", "none", "none."}, {"", "elder", "elder", ""}, {"", "replacing", "change", ""},
		{"", "ancient", "one", "one."}, {"", "ancient", "two", "two."}, {"", "ancient", "three", "three."},
		{"", "ancient", "upgraded", "upgraded."}, {"", "sealed", "sealed", ""},
		{"", "grown", "grown", ""}, {"", "grown", "growing", "growing."}, {"", "removing", "removing", ""},
		{"", "draid", "one", "one."}, {"", "draid", "two", "two."}, {"", "draid", "three", ""},
		{"2.4.4", "rewrite", "rewrite", ""}, {"2.4.4", "gang", "gang", ""}, {"2.4.4", "gang", "hang", "hang."},
		{"2.4.4", "dedup", "fast", ""}, {"2.4.4", "dedup", "legacy", "legacy."}, {"2.4.4", "cloned", "cloned", ""},
		{"2.4.4", "removed", "removed", ""}, {"2.4.4", "live", "live", ""}, {"2.4.4", "single", "single", ""},
		{"2.4.4", "grown", "grown", ""}, {"2.4.4", "grown", "growing", "growing."}, {"2.4.4", "removing", "removing", ""},
		{"2.4.4", "draid", "one", "one."}, {"2.4.4", "draid", "two", "two."}, {"2.4.4", "draid", "three", ""},
		{"2.1.11", "draid", "one", "one."}, {"2.1.11", "draid", "two", "two."}, {"2.1.11", "draid", "three", ""},
		{"2.1.11", "removing", "removing", ""},
		{"2.1.11", "single", "single", ""}, {"2.1.11", "mirror", "glass", ""}, {"2.1.11", "raidz2", "zr", ""},
		{"2.1.11", "secret", "secret", ""}, {"2.1.11", "checkpoint", "check", ""}, {"2.1.11", "freeing", "freeing", ""},
		{"2.1.11", "live", "live", ""}, {"2.1.11", "old", "old", ""}, {"2.1.11", "old", "none", "none."},
		{"2.3.9", "single", "single", ""}, {"2.3.9", "dedup", "fast", ""}, {"2.3.9", "dedup", "legacy", "legacy."},
	}
}

// Dir is the directory that the pool is in.
func (p Pool) Dir(t testing.TB) string {
	t.Helper()
	return Dir(t, p.Version, p.Script)
}

// Report is the path of what zdb says: blocks (zdb -bbb), objects (-ddddd), metaslabs (-mmmm) or uberblock (-uuu).
func (p Pool) Report(t testing.TB, name string) string {
	t.Helper()
	return filepath.Join(p.Dir(t), p.prefix+"zdb."+name)
}

// Open opens the pool.
func (p Pool) Open(t testing.TB) *ondisk.Pool {
	t.Helper()
	return Open(t, p.Dir(t), p.Name)
}

// Images are the vdev files in a directory: what is no report.
func Images(t testing.TB, dir string) []ondisk.Device {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []ondisk.Device
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() < 64<<20 {
			continue
		}
		d, closer, err := ondisk.OpenDevice(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { closer.Close() })
		all = append(all, d)
	}
	return all
}

// Open opens a pool in a directory.
func Open(t testing.TB, dir, name string) *ondisk.Pool {
	t.Helper()
	p, err := ondisk.Open(t.Context(), Images(t, dir), ondisk.Options{Name: name, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
