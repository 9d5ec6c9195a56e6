package hosttest

import (
	"os/exec"
	"testing"

	"github.com/vdevil/vdevil/lab/host"
)

// Chromium is the path of a browser that can be driven without a screen. It is installed where none is found: no part of
// the lab needs one, tests of its pages do.
func Chromium(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	missing := []host.Package{{Needs: "chromium", Name: "chromium", Why: "shows the pages that tests look at"}}
	if err := host.Install(t.Context(), missing, Install(Dirs(t))); err != nil {
		t.Fatal(err)
	}
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	return path
}
