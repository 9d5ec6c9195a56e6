package checkpoint

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// Fitting are the directories below dir, those used last first, that take no more than size together, in bytes.
func Fitting(dir string, size int64) (fits map[string]bool, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	type one struct {
		name string
		used time.Time
	}
	var all []one
	for _, e := range entries {
		if info, err := e.Info(); err == nil && e.IsDir() { // or somebody has removed it
			all = append(all, one{e.Name(), info.ModTime()})
		}
	}
	slices.SortFunc(all, func(a, b one) int { return b.used.Compare(a.used) })
	fits = map[string]bool{}
	for _, o := range all {
		size -= taken(filepath.Join(dir, o.name))
		fits[o.name] = size >= 0
	}
	return fits, err
}

// taken is what the files below a directory take on disk, in bytes; holes take nothing.
func taken(dir string) (total int64) {
	_ = filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error { // what goes away meanwhile takes nothing
		if err != nil {
			return nil
		}
		if info, err := e.Info(); err == nil {
			if s, ok := info.Sys().(*syscall.Stat_t); ok {
				total += 512 * s.Blocks
			}
		}
		return nil
	})
	return total
}
