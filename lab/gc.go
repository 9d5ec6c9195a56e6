package lab

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/checkpoint"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/machine/libvirt"
)

// unused is for how long a checkpoint is kept that nobody forks: another QEMU, or another version of a scenario or of the
// lab, has checkpoints of its own, and who wants an old one again has it made anew in a minute. The same goes for pools of
// the lab's tests.
const unused = 30 * 24 * time.Hour

// What all checkpoints may take on disk, in bytes: those used longest ago go first, never one that was used in the last hour, which
// trials may be forked from.
const (
	checkpointsSize = 30 << 30
	inUse           = time.Hour
)

// Collect removes what labs left that were killed, directories of machines, checkpoints and images half made, the
// checkpoints of images that are no more, and those, and pools of tests, that nobody has used for a month. QEMU children die
// with their lab, libvirt's domains are destroyed, in whatever storage a lab of these directories has had them. What belongs to a lab that is alive is not touched. It returns what it removed.
func Collect(ctx context.Context, d host.Dirs) (removed []string, err error) {
	store, err := images.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	for _, collect := range []func() ([]string, error){
		func() ([]string, error) { return abandoned(d.Run) },
		func() ([]string, error) { return abandoned(MachinesDir(d)) },
		func() ([]string, error) { return inStorages(d) },
		store.Clean,
		func() ([]string, error) {
			return checkpoint.Clean(PoolsDir(d), func(_ string, used time.Time) bool { return time.Since(used) < unused })
		},
		func() ([]string, error) { return checkpoints(d, store) },
	} {
		r, e := collect()
		removed, err = append(removed, r...), errors.Join(err, e)
	}
	return removed, err
}

// inStorages removes what was abandoned where libvirt's machines lie, or lay.
func inStorages(d host.Dirs) (removed []string, err error) {
	dir, err := libvirt.Storage()
	if err != nil {
		return nil, err
	}
	known, err := storages(d)
	for _, dir := range slices.Compact(slices.Sorted(slices.Values(append(known, dir)))) {
		r, e := abandoned(dir)
		removed, err = append(removed, r...), errors.Join(err, e)
	}
	return removed, err
}

// abandoned removes the directories of machines whose lab is gone, and their domains first: a directory is all that tells
// of a domain.
func abandoned(parent string) (removed []string, err error) {
	dirs, err := host.Abandoned(parent)
	for _, dir := range dirs {
		domain, e := libvirt.Collect(dir)
		if domain != "" {
			removed = append(removed, "domain "+domain)
		}
		if e == nil {
			e = host.Release(dir)
		}
		if e == nil {
			removed = append(removed, dir)
		}
		err = errors.Join(err, e)
	}
	return removed, err
}

// checkpoints removes those of images that are gone. Which are gone cannot be told while one is damaged: that is left to
// whoever wants that image, and gets the error with the remedy.
func checkpoints(d host.Dirs, store *images.Store) ([]string, error) {
	all, err := store.List()
	var damaged *images.CorruptError
	if errors.As(err, &damaged) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	fits, err := checkpoint.Fitting(checkpointsDir(d), checkpointsSize)
	if err != nil {
		return nil, err
	}
	return checkpoint.Clean(checkpointsDir(d), func(checkpoint string, used time.Time) bool {
		return time.Since(used) < unused && (fits[checkpoint] || time.Since(used) < inUse) &&
			slices.ContainsFunc(all, func(i *images.Image) bool { return strings.HasPrefix(checkpoint, i.ID+"-") })
	})
}
