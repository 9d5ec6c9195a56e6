package guest

import (
	"context"
	"errors"
	"regexp"
	"strings"

	"al.essio.dev/pkg/shellescape"
)

// zdbFinding matches the lines in which zdb says that the space of a pool does not add up, or why it gave up (cmd/zdb/zdb.c,
// and module/zfs/range_tree.c and zio.c, which are linked into it).
var zdbFinding = regexp.MustCompile(`ERROR: |^leaked space: | != alloc |mismatch|existent segment|overlapping with existing|ASSERT at ` +
	`|VERIFY\w*\(.* failed|blkptr at |can't open|^MOS object .* leaked`)

// ZDB asks zdb of the guest's own OpenZFS whether the space maps of a pool that is not imported agree with each other
// (-y) and with what is reachable (-b). It returns the lines that say they do not; none means that all is well.
func (g *Guest) ZDB(ctx context.Context, pool string) ([]string, error) {
	// Standard error is where assertions go, and zdb's progress, which has no line ends.
	out, err := g.Run(ctx, "LC_ALL=C zdb -e -p /dev -by "+shellescape.Quote(pool))
	var exit *ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	findings := append(zdbFindings(out.Stdout), zdbFindings(out.Stderr)...)
	if exit != nil && len(findings) == 0 {
		findings = []string{"zdb: " + exit.Error()}
	}
	return findings, nil
}

func zdbFindings(output []byte) (findings []string) {
	for line := range strings.Lines(strings.ReplaceAll(string(output), "\r", "\n")) {
		line = strings.TrimSpace(line)
		if zdbFinding.MatchString(line) {
			findings = append(findings, line)
		}
	}
	return findings
}
