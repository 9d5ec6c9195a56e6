package source

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// hunk is the header of one in a diff: git writes behind it the line that begins the function around it.
var hunk = regexp.MustCompile(`^@@ [^@]* @@ .*?([A-Za-z_][A-Za-z0-9_]*)\(`)

// Functions are those of C that a commit changes, as far as git's diff names them.
func (r *Repo) Functions(ctx context.Context, commit string) (names []string, err error) {
	said, err := r.theirs(ctx, "diff-tree", "--no-commit-id", "--root", "-p", "--unified=0", "--no-textconv", "--no-ext-diff", commit, "--", "module", "include")
	if err != nil {
		return nil, fmt.Errorf("functions of commit %s: %w", short(commit), err)
	}
	inC := false
	for line := range strings.Lines(string(said)) {
		if file, ok := strings.CutPrefix(line, "+++ "); ok {
			inC = strings.HasSuffix(strings.TrimSpace(file), ".c")
		}
		if m := hunk.FindStringSubmatch(line); m != nil && inC && !slices.Contains(names, m[1]) {
			names = append(names, m[1])
		}
	}
	return names, nil
}
