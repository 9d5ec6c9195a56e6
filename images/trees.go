package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vdevil/vdevil/lab/host"
)

// What the store keeps of trees is bounded. What was used within the last hour may be in use.
const (
	treesSize = 10 << 30 // bytes of all images of trees; those used longest ago go first
	inUse     = time.Hour
	// unusedBuilder is for how long a builder is kept that compiles nothing: that of a kernel that no image has any more, most of
	// all.
	unusedBuilder = 30 * 24 * time.Hour
)

// cleanTrees removes what is too much.
func (s *Store) cleanTrees() (removed []string, err error) {
	all, err := filepath.Glob(filepath.Join(s.dirs.Cache, "images", treePrefix+"*"))
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(path string) bool { return strings.HasSuffix(path, ".lock") })
	slices.SortFunc(all, func(x, y string) int { return used(y).Compare(used(x)) })
	var total int64
	for _, dir := range all {
		total += sizeOf(dir)
		if total > treesSize && time.Since(used(dir)) > inUse {
			removed, err = append(removed, dir), errors.Join(err, os.RemoveAll(dir))
		}
	}
	builders, _ := filepath.Glob(filepath.Join(s.dirs.Cache, "builders", "*"))
	for _, dir := range builders {
		if time.Since(used(dir)) > unusedBuilder {
			removed, err = append(removed, dir), errors.Join(err, os.RemoveAll(dir))
		}
	}
	return removed, err
}

// sizeOf is what a directory's files hold, in bytes.
func sizeOf(dir string) (size int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error { // what cannot be read counts for nothing
		if err != nil || d.IsDir() {
			return err
		}
		if info, err := d.Info(); err == nil {
			size += info.Size()
		}
		return nil
	})
	return size
}

// removeTrees deletes the images of trees with a name, or put on an image of a version, and forgets that one did not compile.
func (s *Store) removeTrees(version string) (found bool, err error) {
	dirs, _ := filepath.Glob(filepath.Join(s.dirs.Cache, "images", treePrefix+"*"))
	for _, path := range dirs {
		id := filepath.Base(path)
		if strings.HasSuffix(id, ".lock") {
			continue
		}
		var m manifest
		text, err := os.ReadFile(filepath.Join(path, manifestName))
		known := err == nil && json.Unmarshal(text, &m) == nil && m.Tree != nil
		if id != version && (!known || m.Tree.Name != version && !strings.HasPrefix(m.Base, version+"-")) { // a damaged one is called by its ID
			continue
		}
		unlock := func() {} // of what is named itself the lock is held
		if id != version {
			if unlock, err = host.TryLock(s.lockFile(id)); err != nil {
				return found, fmt.Errorf("image rm %s: %w", version, err)
			}
		}
		found = true
		err = os.RemoveAll(path)
		unlock()
		if err != nil {
			return found, fmt.Errorf("image rm %s: %w", version, err)
		}
	}
	failures, _ := filepath.Glob(filepath.Join(s.dirs.Cache, "builders", "*", "failed", "*.json"))
	for _, path := range failures {
		var e remembered
		if text, err := os.ReadFile(path); err == nil && json.Unmarshal(text, &e) == nil && e.What == whatTree(version) {
			found = true
			if err := errors.Join(os.Remove(path), os.Remove(strings.TrimSuffix(path, ".json")+".log")); err != nil {
				return found, fmt.Errorf("image rm %s: %w", version, err)
			}
		}
	}
	return found, nil
}

// RemoveBuilders deletes what compiles trees, and what it keeps.
func (s *Store) RemoveBuilders() error {
	locks, _ := filepath.Glob(filepath.Join(s.dirs.Cache, "builders", "*", "*lock"))
	for _, path := range locks {
		unlock, err := host.TryLock(path)
		if err != nil {
			return fmt.Errorf("image rm: %w", err)
		}
		defer unlock()
	}
	return os.RemoveAll(filepath.Join(s.dirs.Cache, "builders"))
}
