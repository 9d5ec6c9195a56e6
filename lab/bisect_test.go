package lab

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/images/source"
	"github.com/vdevil/vdevil/lab/bisect"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

// historyOf is one whose commits have the kernels that letters stand for.
func historyOf(kernels string, base int) source.History {
	h := source.History{Base: base}
	for i, k := range kernels {
		t := source.Tree{Commit: fmt.Sprintf("%c%d", k, i), Name: fmt.Sprintf("2.3.%d-g%c%d", i, k, i), Kernel: string(k)}
		h.Commits = append(h.Commits, source.Commit{Tree: t})
	}
	return h
}

// TestCandidates expects neighbours with the same image to be one candidate, oldest commit first, and those without a kernel skipped.
func TestCandidates(t *testing.T) {
	plan := func(t source.Tree) (trial.Image, error) {
		if t.Kernel == "x" {
			return trial.Image{}, fmt.Errorf("2.0.0: %w", images.ErrNoKernel)
		}
		return trial.Image{ID: t.Kernel, OpenZFS: t.Name}, nil
	}
	for _, c := range []struct {
		kernels string
		base    int
		want    string // the commits of each
		skip    []string
		fork    int
	}{
		{"abc", -1, "a0 b1 c2", nil, -1},
		{"aabbbc", -1, "a0,a1 b2,b3,b4 c5", nil, -1},
		{"aba", -1, "a0 b1 a2", nil, -1}, // reverted: another place on the way
		{"axxb", -1, "a0 x1,x2 b3", []string{"x1"}, -1},
		{"aabbc", 3, "a1,a0 b3,b2 c4", nil, 1}, // down to b3, up to c4
	} {
		all, skip, fork, err := candidates(historyOf(c.kernels, c.base), plan)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]string, len(all))
		for i, one := range all {
			if last := one.Commits[len(one.Commits)-1].Hash; !strings.HasSuffix(one.Image.OpenZFS, "-g"+last) {
				t.Errorf("%s: candidate %d is called %s, its last commit is %s", c.kernels, i, one.Image.OpenZFS, last)
			}
			var hashes []string
			for _, k := range one.Commits {
				hashes = append(hashes, k.Hash)
			}
			got[i] = strings.Join(hashes, ",")
		}
		if strings.Join(got, " ") != c.want || !slices.Equal(skip, c.skip) || fork != c.fork {
			t.Errorf("%s: %q, skipped %q, forks at %d", c.kernels, got, skip, fork)
		}
	}
}

// TestCandidatesFail expects what is wrong with this computer to skip no commit.
func TestCandidatesFail(t *testing.T) {
	full := errors.New("no space left on device")
	_, _, _, err := candidates(historyOf("ab", -1), func(source.Tree) (trial.Image, error) { return trial.Image{}, full })
	if !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
	// An end that no kernel is for is none.
	for _, kernels := range []string{"xab", "abx"} {
		_, _, _, err := candidates(historyOf(kernels, -1), func(t source.Tree) (trial.Image, error) {
			if t.Kernel == "x" {
				return trial.Image{}, fmt.Errorf("2.0.0: %w: its META says Linux 3.10 to 5.13", images.ErrNoKernel)
			}
			return trial.Image{ID: t.Kernel, OpenZFS: t.Name}, nil
		})
		if !errors.Is(err, images.ErrNoKernel) {
			t.Errorf("%s: got %v", kernels, err)
		}
	}
}

// TestAskable expects candidates between the ends to be skipped that a scenario cannot be asked of, and an end to be refused.
func TestAskable(t *testing.T) {
	s := &scenarios.Scenario{Name: "mine", Since: "2.3.1"}
	of := func(versions ...string) *bisect.Bisect {
		b := &bisect.Bisect{}
		for _, v := range versions {
			b.Candidates = append(b.Candidates, bisect.Candidate{Image: trial.Image{OpenZFS: v}})
		}
		return b
	}
	b := of("2.3.1", "2.3.0-gbeef", "2.3.2")
	if err := askable(s, b); err != nil || !slices.Equal(b.Skip, []string{"2.3.0-gbeef"}) {
		t.Errorf("skipped %q, %v", b.Skip, err)
	}
	if err := askable(s, of("2.3.0", "2.3.2")); err == nil || !strings.Contains(err.Error(), "mine cannot be asked of OpenZFS 2.3.0") {
		t.Errorf("got %v", err)
	}
}
