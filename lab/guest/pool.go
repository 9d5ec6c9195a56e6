package guest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"al.essio.dev/pkg/shellescape"
	"github.com/vdevil/vdevil/lab/zfs/status"
)

// PoolSpec says how to make a pool.
type PoolSpec struct {
	Name string
	// Layout are the vdev words of zpool create. A word that is neither one of its keywords nor a path is the name of
	// a data disk of the machine.
	Layout []string
	// Options are properties and features of the pool (-o), Properties those of its root dataset (-O).
	Options    map[string]string
	Properties map[string]string
}

// diskFolder holds a link for every data disk, by serial number, with diskPrefix before it.
const (
	diskFolder = "/dev/disk/by-id/"
	diskPrefix = "virtio-"
)

// DiskPath is the path of a data disk in the guest.
func DiskPath(name string) string { return diskFolder + diskPrefix + name }

// resolve gives the path of a data disk of the machine and leaves every other vdev word as it is (zpoolconcepts.7).
func resolve(word string) string {
	switch word {
	case "mirror", "spare", "log", "cache", "special", "dedup":
		return word
	}
	if strings.HasPrefix(word, "/") || strings.HasPrefix(word, "raidz") || strings.HasPrefix(word, "draid") {
		return word
	}
	return DiskPath(word)
}

// flags gives a command-line flag per property, in the order of their names, so that equal maps make equal commands.
func flags(flag string, properties map[string]string) []string {
	words := make([]string, 0, 2*len(properties))
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		words = append(words, flag, name+"="+properties[name])
	}
	return words
}

// words is the zpool create command of a pool.
func (p PoolSpec) words() []string {
	disks := make([]string, len(p.Layout))
	for i, word := range p.Layout {
		disks[i] = resolve(word)
	}
	return slices.Concat([]string{"zpool", "create"},
		flags("-o", p.Options), flags("-O", p.Properties), []string{p.Name}, disks)
}

// createTries is how often CreatePool tries to make a pool whose disks are not there.
const createTries = 3

// CreatePool makes a pool. Disks that carry another pool are refused, as zpool create does. To disable a feature that
// the guest's OpenZFS does not know is to do nothing.
func (g *Guest) CreatePool(ctx context.Context, p PoolSpec) error {
	p, err := g.withoutUnknown(ctx, p)
	if err != nil {
		return err
	}
	// zpool create partitions the disks. On a busy host udev may still be removing the links of the partitions before
	// when ZFS opens them, which fails with "one or more devices is currently unavailable".
	command := "udevadm settle && " + shellescape.QuoteCommand(p.words())
	for try := 1; ; try++ {
		_, err := g.Run(ctx, command)
		var exit *ExitError
		if try == createTries || !errors.As(err, &exit) || !strings.Contains(exit.Stderr, "currently unavailable") {
			return err
		}
	}
}

// withoutUnknown drops the options that disable unknown features. The module lists those it knows by their full names,
// such as com.klarasystems:fast_dedup.
func (g *Guest) withoutUnknown(ctx context.Context, p PoolSpec) (PoolSpec, error) {
	const list = "/sys/module/zfs/features.pool/"
	options := maps.Clone(p.Options)
	for option, value := range p.Options {
		feature, is := strings.CutPrefix(option, "feature@")
		if !is || value != "disabled" {
			continue
		}
		_, err := g.Run(ctx, "ls -d "+list+"*:"+shellescape.Quote(feature))
		var exit *ExitError
		if errors.As(err, &exit) {
			delete(options, option)
		} else if err != nil {
			return p, fmt.Errorf("look for feature %s: %w", feature, err)
		}
	}
	p.Options = options
	return p, nil
}

// DestroyPool destroys a pool.
func (g *Guest) DestroyPool(ctx context.Context, pool string) error {
	return g.command(ctx, "zpool", "destroy", pool)
}

// Export writes everything out and lets go of a pool. Together with Import it empties the caches of what was read.
func (g *Guest) Export(ctx context.Context, pool string) error {
	return g.command(ctx, "zpool", "export", pool)
}

// Import imports a pool from the machine's data disks.
func (g *Guest) Import(ctx context.Context, pool string) error {
	_, err := g.Run(ctx, "udevadm settle && "+shellescape.QuoteCommand([]string{"zpool", "import", "-d", diskFolder, pool}))
	return err
}

// Scrub reads and checks every block of a pool, and returns when that is done. What it found is in Status.
func (g *Guest) Scrub(ctx context.Context, pool string) error {
	return g.command(ctx, "zpool", "scrub", "-w", pool)
}

// Sync returns when what was written before is on disk.
func (g *Guest) Sync(ctx context.Context, pool string) error {
	return g.command(ctx, "zpool", "sync", pool)
}

// CreateDataset makes a file system, with its parents, and with the properties given.
func (g *Guest) CreateDataset(ctx context.Context, dataset string, properties map[string]string) error {
	words := append([]string{"zfs", "create", "-p"}, flags("-o", properties)...)
	return g.command(ctx, append(words, dataset)...)
}

// Snapshot makes snapshots, all in one transaction group. Names are like tank/home@monday.
func (g *Guest) Snapshot(ctx context.Context, names ...string) error {
	return g.command(ctx, append([]string{"zfs", "snapshot"}, names...)...)
}

// DestroyDataset destroys one file system, volume or snapshot, and nothing below it. It returns when the space of a
// snapshot has been given to the freeing threads, which may be long before it is free: see Sync.
func (g *Guest) DestroyDataset(ctx context.Context, name string) error {
	return g.command(ctx, "zfs", "destroy", name)
}

// command runs words for their effect alone.
func (g *Guest) command(ctx context.Context, words ...string) error {
	_, err := g.Run(ctx, shellescape.QuoteCommand(words))
	return err
}

// Status asks for the state of a pool.
func (g *Guest) Status(ctx context.Context, pool string) (status.Pool, error) {
	output, err := g.Run(ctx, "LC_ALL=C "+shellescape.QuoteCommand([]string{"zpool", "status", "-vp", pool}))
	if err != nil {
		return status.Pool{}, err
	}
	s, err := status.Parse(string(output.Stdout))
	if err != nil {
		return status.Pool{}, fmt.Errorf("read zpool status of %s: %w", pool, err)
	}
	return s, nil
}
