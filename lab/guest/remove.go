package guest

import (
	"context"
	"fmt"

	"al.essio.dev/pkg/shellescape"
)

// Remove removes files with one command, so that they tend to meet in one txg.
func (g *Guest) Remove(ctx context.Context, paths ...string) error {
	if _, err := g.Run(ctx, "rm -- "+shellescape.QuoteCommand(paths)); err != nil {
		return fmt.Errorf("remove files: %w", err)
	}
	return nil
}
