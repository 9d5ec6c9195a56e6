package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vdevil/vdevil/images/source"
	"github.com/vdevil/vdevil/lab/host"
)

const (
	buildingPrefix = ".building-"
	// workRoot is where chroots are: on a disk, other than /tmp, and open to the users that an ordinary user's chroot is
	// made of, other than a home directory.
	workRoot = "/var/tmp"
)

// workPrefix begins the names of this user's chroot directories; the process that made it and something random follow.
func workPrefix() string { return "vdevil-build-" + strconv.Itoa(os.Getuid()) + "-" }

// Clean removes what builds left behind whose process was killed, and images of trees that are too many, and returns their paths.
func (s *Store) Clean() (removed []string, err error) {
	building, _ := filepath.Glob(filepath.Join(s.dirs.Cache, "images", buildingPrefix+"*"))
	work, _ := filepath.Glob(filepath.Join(s.work, workPrefix()+"*"))
	var errs []error
	for _, path := range append(building, work...) {
		p, ok := ownerOf(filepath.Base(path))
		if !ok || p.Alive() {
			continue
		}
		if err := removeTree(path); err != nil {
			errs = append(errs, fmt.Errorf("removing what a killed build left: %w", err))
			continue
		}
		removed = append(removed, path)
	}
	trees, err := s.cleanTrees()
	sources, serr := source.Clean(filepath.Join(s.dirs.Cache, sourcesDir))
	return slices.Concat(removed, trees, sources), errors.Join(append(errs, err, serr)...)
}

// ownerOf reads the process out of a directory's name, which has it at the end or before a random last part.
func ownerOf(name string) (host.Process, bool) {
	var rest string
	if version, ok := strings.CutPrefix(name, buildingPrefix); ok {
		_, rest, _ = strings.Cut(version, "-")
	} else {
		rest = strings.TrimPrefix(name, workPrefix())
		if i := strings.LastIndexByte(rest, '-'); i >= 0 {
			rest = rest[:i]
		}
	}
	p, err := host.ParseProcess(rest)
	return p, err == nil
}

// removeTree deletes a directory. An ordinary user's chroot holds files of the users he was lent in /etc/subuid, which only
// they may delete.
func removeTree(path string) error {
	err := os.RemoveAll(path)
	if !errors.Is(err, os.ErrPermission) || os.Getuid() == 0 {
		return err
	}
	trees, _ := filepath.Glob(filepath.Join(path, "*"))
	mmdebstrap, perr := host.Program("mmdebstrap")
	if perr != nil {
		return errors.Join(err, perr)
	}
	// Inside the namespace only the trees belong to root: the directory above stays the user's.
	for _, tree := range trees {
		script := `find "$1" -mindepth 1 -delete`
		// Not to be cancelled: it is what a cancelled build does last.
		cmd := exec.CommandContext(context.Background(), mmdebstrap, "--unshare-helper", "sh", "-c", script, "sh", tree)
		cmd.Dir = "/"
		if out, uerr := cmd.CombinedOutput(); uerr != nil {
			return fmt.Errorf("%w; %s: %w: %s", err, strings.Join(cmd.Args, " "), uerr, out)
		}
	}
	return os.RemoveAll(path)
}
