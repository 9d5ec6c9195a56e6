package images

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/vdevil/vdevil/images/source"
	"github.com/vdevil/vdevil/lab/host"
)

//go:embed unpack.sh
var unpackScript string

const sourceTar = "source.tar"

// Unpack makes dir, which must not be there or be empty, a checkout with the one commit that the package of a version compiles: what
// the modules are made of, without the programs.
func (s *Store) Unpack(ctx context.Context, version, dir string, o Options) (err error) {
	r, err := find(s.recipes, version)
	if err != nil {
		return err
	}
	what := "source of OpenZFS " + r.OpenZFS
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) || len(entries) > 0 {
		return errors.Join(err, fmt.Errorf("%s: %s is there already: name a new directory", what, dir))
	}
	self, err := host.Self()
	if err != nil {
		return err
	}
	work := filepath.Join(s.dirs.Cache, "images", buildingPrefix+"source-"+self.String())
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	defer removeTree(work) //nolint:errcheck // Clean takes away what is left
	j := &job{
		what: what, recipe: r, keys: s.keys, mirror: o.Mirror, dir: work, workRoot: s.work, process: self,
		progress: newProgress(unpackPhases, o.Progress),
		debs:     filepath.Join(s.dirs.Cache, "stages", "source-debs"),
		log:      filepath.Join(s.dirs.State, "images", "source.log"),
	}
	if err := j.logged(ctx, j.unpack); err != nil {
		return err
	}
	// Beside its place, so that it is there whole or not at all.
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	part, err := os.MkdirTemp(filepath.Dir(dir), ".vdevil-source-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(part) //nolint:errcheck // it has another name when all went well
	out, err := exec.CommandContext(ctx, "tar", "-C", part, "--no-same-owner", "-xf", filepath.Join(work, "source", sourceTar)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: tar: %w: %s", what, err, out)
	}
	if err := source.Begin(ctx, part, "OpenZFS "+r.OpenZFS+" as its package compiles it"); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := errors.Join(os.Chmod(part, 0o755), os.Rename(part, dir)); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return os.RemoveAll(j.debs)
}

// unpack makes the archive of the source in a chroot that can download it.
func (j *job) unpack(ctx context.Context) error {
	if err := outputs(filepath.Join(j.dir, "source"), sourceTar); err != nil {
		return err
	}
	c := j.chroot("source", "download")
	c.env = append(c.env, "VDEVIL_HOOK="+unpackScript)
	c.argv = append(c.argv, hook)
	if err := c.runIn(ctx, j); err != nil {
		return err
	}
	return seal(filepath.Join(j.dir, "source"))
}
