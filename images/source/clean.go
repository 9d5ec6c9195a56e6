package source

import (
	"errors"
	"os"
	"path/filepath"
	"time"
)

const (
	// unused is for how long what was made for a repository is kept that nobody opens.
	unused = 30 * 24 * time.Hour
	// abandoned is when what a command makes for itself belongs to nobody any more: the command was killed.
	abandoned = 24 * time.Hour
)

// Clean removes from the directory that Open is given what nobody needs any more, and returns its paths.
func Clean(cache string) (removed []string, err error) {
	repos, _ := filepath.Glob(filepath.Join(cache, "*", "objects", "info", "alternates")) // written whenever one is opened
	for _, file := range repos {
		own := filepath.Dir(filepath.Dir(filepath.Dir(file)))
		if old(file, unused) {
			removed, err = append(removed, own), errors.Join(err, os.RemoveAll(own))
			continue
		}
		for _, pattern := range []string{"edited-*", "without-*", "patched-*"} {
			left, _ := filepath.Glob(filepath.Join(own, pattern))
			for _, path := range left {
				if old(path, abandoned) {
					removed, err = append(removed, path), errors.Join(err, os.RemoveAll(path))
				}
			}
		}
	}
	return removed, err
}

func old(path string, age time.Duration) bool {
	st, err := os.Stat(path)
	return err == nil && time.Since(st.ModTime()) > age
}
