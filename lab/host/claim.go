package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// owner is the file in a claimed directory that names the process it belongs to.
const owner = "owner"

// Claim makes dir, which must not exist, and marks it as belonging to this process. What is in it is worth nothing
// without the process: see Abandoned.
func Claim(dir string) error {
	self, err := Self()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return WriteFile(filepath.Join(dir, owner), []byte(self.String()+"\n"), 0o644)
}

// Abandoned lists the claimed directories in parent whose process is gone: a lab that was killed left them. A directory
// without an owner is left out, it may be about to get one.
func Abandoned(parent string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(parent, "*", owner))
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, f := range files {
		text, err := os.ReadFile(f)
		if errors.Is(err, os.ErrNotExist) { // its owner is cleaning up
			continue
		}
		if err != nil {
			return nil, err
		}
		p, err := ParseProcess(strings.TrimSpace(string(text)))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		if !p.Alive() {
			dirs = append(dirs, filepath.Dir(f))
		}
	}
	return dirs, nil
}
