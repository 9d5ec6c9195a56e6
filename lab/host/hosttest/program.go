package hosttest

import (
	"os/exec"
	"testing"

	"github.com/vdevil/vdevil/lab/host"
)

// Program is the path of a program that no part of the lab needs, but its tests do. When none of its names is found, the Debian
// package of the first one is installed.
func Program(t testing.TB, why string, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	missing := []host.Package{{Needs: names[0], Name: names[0], Why: why}}
	if err := host.Install(t.Context(), missing, Install(Dirs(t))); err != nil {
		t.Fatal(err)
	}
	path, err := exec.LookPath(names[0])
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Chromium is the path of a browser that can be driven without a screen.
func Chromium(t testing.TB) string {
	t.Helper()
	return Program(t, "shows the pages that tests look at", "chromium", "chromium-browser", "google-chrome")
}
