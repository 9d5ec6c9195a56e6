package host

import (
	"errors"
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

// What others can write to holds no kernels that are booted.
func TestDirsOfOthers(t *testing.T) {
	base := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", base)
	t.Setenv("XDG_STATE_HOME", base)
	t.Setenv("XDG_RUNTIME_DIR", "")
	dir := filepath.Join(base, "vdevil")
	for _, tt := range []struct {
		says string
		make func() error
	}{
		{"", func() error { return os.Mkdir(dir, 0o755) }},
		{"can be written to by others", func() error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o770)) }},
		{"", func() error { return errors.Join(os.Mkdir(dir+"-elsewhere", 0o700), os.Symlink(dir+"-elsewhere", dir)) }},
		{"can be written to by others", func() error { return os.Symlink("/tmp", dir) }},
		{"not a directory", func() error { return os.WriteFile(dir, nil, 0o600) }},
	} {
		if err := tt.make(); err != nil {
			t.Fatal(err)
		}
		if _, err := DefaultDirs(); (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%v; want %q", err, tt.says)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
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
