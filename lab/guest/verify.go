package guest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/vdevil/vdevil/lab/oracle"
)

// Verify reads every file that the oracle knows, with one command. Files that the guest has cached are not read from disk: to
// judge the disks, export and import the pool before.
func (g *Guest) Verify(ctx context.Context, o *oracle.Oracle) (oracle.Findings, error) {
	paths := o.Files()
	if len(paths) == 0 {
		return nil, nil
	}
	list := strings.Join(paths, "\x00") + "\x00"
	// -z ends lines with NUL and leaves names as they are. xargs exits with 123 when files could not be read.
	output, err := g.run(ctx, "LC_ALL=C xargs -0 sha256sum -z --", strings.NewReader(list))
	var exit *ExitError
	if errors.As(err, &exit) && exit.Status == 123 {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("verify files: %w", err)
	}
	findings, err := o.Compare(output.Stdout, output.Stderr)
	if err != nil {
		return nil, fmt.Errorf("verify files: %w", err)
	}
	return findings, nil
}
