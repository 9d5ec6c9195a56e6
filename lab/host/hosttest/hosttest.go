// Package hosttest prepares this computer for tests that need real programs such as QEMU.
package hosttest

import (
	"os"
	"testing"

	"github.com/vdevil/vdevil/lab/host"
)

// Dirs are the user's own, as what the lab has cached need not be made again for a test, but for what labs remember: a lab
// collects what was left wherever those that it knows of have worked, and what a test leaves is its own to look at.
func Dirs(t testing.TB) host.Dirs {
	t.Helper()
	dirs, err := host.DefaultDirs()
	if err != nil {
		t.Fatal(err)
	}
	dirs.State = t.TempDir()
	return dirs
}

// install is the variable that lets tests install packages. Who runs go test does not expect that, and cannot be asked.
const install = "VDEVIL_TEST_INSTALL"

// Install is how tests install packages: only if the environment allows it, as CI=true does, too, and one test process
// after the other.
func Install(d host.Dirs) host.InstallOptions {
	yes := os.Getenv(install) == "1" || os.Getenv("CI") == "true"
	return host.InstallOptions{Yes: yes, YesBy: install + "=1", Out: os.Stderr, Lock: d.Cache}
}

// Packages installs what the lab needs of this computer and does not find.
func Packages(t testing.TB) {
	t.Helper()
	if err := host.Install(t.Context(), host.Missing(), Install(Dirs(t))); err != nil {
		t.Fatal(err)
	}
}
