package vm

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/machine"
)

// A checkpoint is whole when its own files are there and those of its image.
func TestOpen(t *testing.T) {
	dir, image := t.TempDir(), t.TempDir()
	f := Files{Dir: dir}
	cp := machine.Checkpoint{Config: machine.Config{
		Kernel: filepath.Join(image, "kernel"), Initrd: filepath.Join(image, "initrd"), Root: filepath.Join(image, "root"),
	}}
	manifest, err := json.Marshal(cp)
	if err != nil {
		t.Fatal(err)
	}
	all := append(f.saved(cp.Config), f.state(), cp.Config.Kernel, cp.Config.Initrd, cp.Config.Root)
	write := func(path string, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(f.manifest(), manifest)
	for _, path := range all {
		write(path, nil)
	}
	if _, err := Open(dir); err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "not whole") {
			t.Errorf("without %s: %v", path, err)
		}
		write(path, nil)
	}
}
