package ondisktest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/host/hosttest"
	"github.com/vdevil/vdevil/lab/labtest"
)

// Userland are programs of OpenZFS that need no kernel of it, zdb and ztest, as they are in an image, with the libraries that they
// are linked with. They run on this computer, many times as fast as in a guest.
type Userland struct{ dir string }

// NewUserland takes the programs out of the image of an OpenZFS version ("" is the default one), once for all tests.
func NewUserland(t testing.TB, version string) Userland {
	t.Helper()
	img, err := labtest.Open(t).Image(t.Context(), version)
	if err != nil {
		t.Fatal(err)
	}
	return Userland{cached(t, "userland-"+img.ID, func(part, dir string) { takePrograms(t, img, part, dir) })}
}

// takePrograms makes the directory part, which is dir in the end.
func takePrograms(t testing.TB, img *images.Image, part, dir string) {
	t.Helper()
	command := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, out)
		}
	}
	debugfs, err := host.Program("debugfs") // /usr/sbin is in root's PATH alone
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(part, 0o755); err != nil {
		t.Fatal(err)
	}
	command(debugfs, "-R", "rdump /usr/lib/x86_64-linux-gnu "+part, img.Root)
	// ztest starts itself and zdb anew, so that both have to know their libraries, and the loader that fits these, by themselves.
	patchelf := hosttest.Program(t, "makes programs of a guest run outside of it", "patchelf")
	libraries := filepath.Join(dir, "x86_64-linux-gnu")
	for _, program := range []string{"zdb", "ztest"} {
		path := filepath.Join(part, program)
		command(debugfs, "-R", "dump -p /usr/sbin/"+program+" "+path, img.Root)
		command(patchelf, "--set-interpreter", filepath.Join(libraries, "ld-linux-x86-64.so.2"), "--force-rpath", "--set-rpath", libraries, path)
	}
}

// Path is where a program is.
func (u Userland) Path(program string) string { return filepath.Join(u.dir, program) }

// Command is a run of a program, in the C locale.
func (u Userland) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, u.Path(program), args...)
	// OpenZFS up to 2.1 looks for ZDB_PATH, later ones for ZDB.
	cmd.Env = append(os.Environ(), "LC_ALL=C", "ZDB="+u.Path("zdb"), "ZDB_PATH="+u.Path("zdb"))
	return cmd
}
