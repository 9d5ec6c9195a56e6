package guest

import (
	"context"
	_ "embed" // the script
)

//go:embed memdisks.sh
var scriptMemoryDisks string

// Rescan makes the kernel read the partition tables of the data disks again, after they were exchanged from outside. The
// devices are there when it returns, their links in diskFolder a little later: Import waits for them.
func (g *Guest) Rescan(ctx context.Context) error {
	_, err := g.Run(ctx, "blockdev --rereadpt $(ls -d "+diskFolder+diskPrefix+"* | grep -v -e -part)")
	return err
}

// MemoryDisks lets the kernel find data disks that are persistent memory, and gives them the links that other disks have: names are in
// the order of their addresses.
func (g *Guest) MemoryDisks(ctx context.Context, names ...string) error {
	_, err := g.RunScript(ctx, scriptMemoryDisks, names...)
	return err
}
