package guest

import "context"

// Rescan makes the kernel read the partition tables of the data disks again, after they were exchanged from outside. The
// devices are there when it returns, their links in diskFolder a little later: Import waits for them.
func (g *Guest) Rescan(ctx context.Context) error {
	_, err := g.Run(ctx, "blockdev --rereadpt $(ls -d "+diskFolder+diskPrefix+"* | grep -v -e -part)")
	return err
}
