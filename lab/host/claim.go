package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// owner is the file in a claimed directory that names the process it belongs to.
const owner = "owner"

// claiming is what the name of a directory begins with while it is being claimed; the owner follows.
const claiming = ".claim-"

// Claim makes dir, which must not exist, and marks it as belonging to this process: it appears with its owner or not at all.
// What is in it is worth nothing without the process: see Abandoned. Release removes it.
func Claim(dir string) error {
	self, err := Self()
	if err != nil {
		return err
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	part, err := os.MkdirTemp(parent, claiming+self.String()+"-") // for its owner alone, as dir will be
	if err != nil {
		return err
	}
	err = WriteFile(filepath.Join(part, owner), []byte(self.String()+"\n"), 0o644)
	if err == nil {
		err = os.Rename(part, dir) // which never replaces a directory that has something in it
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(part))
	}
	return nil
}

// Release removes a claimed directory, the mark of its owner last: whatever is left of it when this process is killed in the
// middle is Abandoned yet.
func Release(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != owner {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	if err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// unowned is how old a directory without an owner must be to count as abandoned. Labs of old, and whoever removes by hand,
// may leave one.
const unowned = time.Hour

// Abandoned lists the claimed directories in parent whose process is gone: a lab that was killed left them.
func Abandoned(parent string) ([]string, error) {
	entries, err := os.ReadDir(parent)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		dir := filepath.Join(parent, e.Name())
		text, err := ownerOf(dir)
		if errors.Is(err, os.ErrNotExist) { // its owner is cleaning up, or was killed when that was nearly done
			if info, err := e.Info(); err == nil && id.MatchString(e.Name()) && time.Since(info.ModTime()) > unowned {
				dirs = append(dirs, dir)
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		p, err := ParseProcess(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
		if !p.Alive() {
			dirs = append(dirs, dir)
		}
	}
	return dirs, nil
}

// id is the name of a directory of a machine.
var id = regexp.MustCompile(`^[0-9a-f]{8}$`)

// ownerOf is whom a directory says that it belongs to, be it by its name alone.
func ownerOf(dir string) (string, error) {
	if text, found := strings.CutPrefix(filepath.Base(dir), claiming); found {
		return text[:max(0, strings.LastIndexByte(text, '-'))], nil
	}
	text, err := os.ReadFile(filepath.Join(dir, owner))
	return strings.TrimSpace(string(text)), err
}
