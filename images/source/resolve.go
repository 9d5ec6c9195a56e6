package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// pull is a pull request: pull/18852/head as GitHub calls it, or pull/18852.
var pull = regexp.MustCompile(`^(?:refs/)?(?:pull|pr)/([0-9]+)(?:/head)?$`)

// Resolve is the tree that a word names: a tag, a branch, a hash, also an abbreviated one, HEAD~3, pull/18852/head. The error of
// a word that names no commit is ErrUnknown.
func (r *Repo) Resolve(ctx context.Context, word string) (Tree, error) {
	id, err := r.commitOf(ctx, word)
	if err != nil {
		return Tree{}, fmt.Errorf("revision %q: %w", word, err)
	}
	t, err := r.treeOfCommit(ctx, id)
	if err != nil {
		return Tree{}, fmt.Errorf("revision %q: %w", word, err)
	}
	t.Word = word
	return t, nil
}

func (r *Repo) commitOf(ctx context.Context, word string) (string, error) {
	if word == "" || strings.HasPrefix(word, "-") || strings.ContainsAny(word, "\x00\n") {
		return "", fmt.Errorf("%w: want a tag, branch or hash", ErrUnknown)
	}
	out, err := r.theirs(ctx, "rev-parse", "--verify", "--end-of-options", word+"^{commit}")
	if err == nil {
		lines := strings.Fields(string(out))
		return lines[len(lines)-1], nil
	}
	var g *Error
	if !errors.As(err, &g) {
		return "", err
	}
	if strings.Contains(g.Stderr, "is ambiguous") {
		return "", fmt.Errorf("several objects have a hash that begins so: give more of it. git says:\n%s", strings.TrimSpace(g.Stderr))
	}
	if m := pull.FindStringSubmatch(word); m != nil {
		return r.pullRequest(ctx, m[1])
	}
	return "", r.unknown(ctx, word)
}

// pullRequest looks where people keep the heads of pull requests.
func (r *Repo) pullRequest(ctx context.Context, number string) (string, error) {
	out, err := r.theirs(ctx, "for-each-ref", "--format=%(objectname)",
		"refs/pull/"+number+"/head", "refs/remotes/*/pull/"+number+"/head", "refs/remotes/*/pull/"+number,
		"refs/remotes/*/pr/"+number, "refs/remotes/*/pr/"+number+"/head", "refs/heads/pr/"+number, "refs/heads/pull/"+number)
	if err != nil {
		return "", err
	}
	if ids := strings.Fields(string(out)); len(ids) > 0 {
		return ids[0], nil
	}
	return "", fmt.Errorf("%w: the checkout does not have the pull request yet; fetch it:\n  git -C %s fetch %s pull/%s/head:refs/pull/%s/head",
		ErrUnknown, r.Dir, r.upstream(ctx), number, number)
}

// upstream is the remote of the repository that is OpenZFS's own, or its address.
func (r *Repo) upstream(ctx context.Context) string {
	out, _ := r.theirs(ctx, "config", "--get-regexp", `^remote\..*\.url$`) // without remotes git says no
	for line := range strings.Lines(string(out)) {
		key, url, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasSuffix(strings.TrimSuffix(url, ".git"), "openzfs/zfs") {
			return strings.TrimSuffix(strings.TrimPrefix(key, "remote."), ".url")
		}
	}
	return "https://github.com/openzfs/zfs"
}

// unknown says what may have been meant.
func (r *Repo) unknown(ctx context.Context, word string) error {
	out, err := r.theirs(ctx, "for-each-ref", "--format=%(refname:short)", "refs/tags", "refs/heads", "refs/remotes")
	if err != nil {
		return err
	}
	if names := similar(word, strings.Fields(string(out))); len(names) > 0 {
		return fmt.Errorf("%w; similar ones are %s", ErrUnknown, strings.Join(names, ", "))
	}
	if r.shallow {
		return fmt.Errorf("%w in this shallow clone: git -C %s fetch --unshallow --tags brings all of history", ErrUnknown, r.Dir)
	}
	return fmt.Errorf("%w: want a tag, branch or hash; git -C %s fetch --tags brings what is new", ErrUnknown, r.Dir)
}

// similar are at most five names that are like a word, the most similar first.
func similar(word string, names []string) []string {
	distance := func(name string) int {
		if strings.HasSuffix(name, "-"+word) || strings.HasSuffix(name, "/"+word) {
			return 0 // 2.3.4 for zfs-2.3.4
		}
		return levenshtein.ComputeDistance(strings.ToLower(word), strings.ToLower(name))
	}
	found := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return distance(n) > 2 })
	slices.SortStableFunc(found, func(a, b string) int { return cmp.Compare(distance(a), distance(b)) })
	return found[:min(5, len(found))]
}
