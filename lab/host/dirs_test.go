package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDefaultDirs(t *testing.T) {
	base := t.TempDir()
	run, err := os.MkdirTemp("/tmp", "r")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(run)
	t.Setenv("XDG_CACHE_HOME", base+"/c")
	t.Setenv("XDG_STATE_HOME", "relative/is/ignored")
	t.Setenv("HOME", base+"/home")
	t.Setenv("XDG_RUNTIME_DIR", run)
	d, err := DefaultDirs()
	if err != nil {
		t.Fatal(err)
	}
	want := Dirs{Cache: base + "/c/vdevil", State: base + "/home/.local/state/vdevil", Run: run + "/vdevil"}
	if d != want {
		t.Fatalf("got %+v, want %+v", d, want)
	}
	for _, dir := range []string{d.Cache, d.State, d.Run} {
		if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v %v, want mode 0700", dir, st, err)
		}
	}
}

func TestRunDir(t *testing.T) {
	temp, err := os.MkdirTemp("/tmp", "t")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(temp)
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 60))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, base := range []string{"", long, temp + "/absent"} {
		dir, err := runDir(base, temp)
		if err != nil || !strings.HasPrefix(dir, temp+"/vdevil-") {
			t.Errorf("runDir(%q) = %q, %v; want one in %s", base, dir, err, temp)
		}
	}
	if dir, err := runDir("", long); err != nil || filepath.Dir(dir) != "/tmp" {
		t.Errorf("with a long directory for temporary files: %q, %v; want one in /tmp", dir, err)
	}
}

func TestRunDirOfOthers(t *testing.T) {
	temp, err := os.MkdirTemp("/tmp", "t")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(temp)
	dir, err := runDir("", temp)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func() error{
		"open to others": func() error { return os.Chmod(dir, 0o755) },
		"not a directory": func() error {
			os.Remove(dir)
			return os.Symlink("/tmp", dir)
		},
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if _, err := runDir("", temp); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("a run directory that is %s: error %v", name, err)
		}
		os.Remove(dir)
		os.Mkdir(dir, 0o700)
	}
}
