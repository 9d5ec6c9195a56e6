package bisect

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/host/hosttest"
	"github.com/vdevil/vdevil/lab/report"
)

// repository is one that the test makes.
type repository struct {
	t   *testing.T
	dir string
}

func newRepository(t *testing.T) *repository {
	t.Helper()
	hosttest.Program(t, "makes the repositories of tests", "git")
	r := &repository{t, t.TempDir()}
	r.git("init", "--quiet", "--initial-branch=main")
	return r
}

// try runs git, whatever its exit status.
func (r *repository) try(args ...string) (string, error) {
	cmd := exec.CommandContext(r.t.Context(), "git", args...)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "LC_ALL=C",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (r *repository) git(args ...string) string {
	r.t.Helper()
	out, err := r.try(args...)
	if err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// candidates commits so many, of two commits each.
func (r *repository) candidates(branch string, n int) (list []Candidate) {
	for i := range n {
		var c Candidate
		c.Image.ID, c.Image.OpenZFS = fmt.Sprintf("image-%s-%d", branch, i), fmt.Sprintf("2.3.%d", i)
		for k := range 2 {
			subject := fmt.Sprintf("%s %d, part %d", branch, i, k)
			r.git("commit", "--quiet", "--allow-empty", "-m", subject)
			c.Commits = append(c.Commits, report.Commit{Hash: r.git("rev-parse", "HEAD"), Subject: subject})
		}
		list = append(list, c)
	}
	return list
}

// fork is a history of two branches with eight candidates each, along the way from the tip of one to that of the other.
func (r *repository) fork() (path []Candidate, base int) {
	trunk := r.candidates("trunk", 4)
	r.git("checkout", "--quiet", "-b", "old")
	old := r.candidates("old", 8)
	r.git("checkout", "--quiet", "-b", "new", "main")
	for i := range old {
		path = append(path, old[len(old)-1-i])
	}
	path = append(path, trunk[3])
	return append(path, r.candidates("new", 8)...), len(old)
}

func TestLog(t *testing.T) {
	tests := []struct {
		name    string
		forked  bool
		world   world
		culprit int
		skipped bool // git has several left that cannot be tried
	}{
		{"introduced", false, world{rate: changes(6, 0, 1)}, 7, false},
		{"mended", false, world{rate: changes(9, 0.5, 0)}, 10, false},
		{"untestable at the boundary", false, world{rate: changes(6, 0, 1), untestable: map[int]string{7: "no boot"}}, 7, true},
		{"up from the merge base", true, world{rate: changes(11, 0, 1)}, 12, false},
		{"down to the merge base", true, world{rate: changes(3, 1, 0)}, 3, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRepository(t)
			b := newBisect(t, 2, func(b *Bisect) {
				if tt.forked {
					b.Candidates, b.Fork = r.fork()
					return
				}
				b.Candidates = r.candidates("main", 14)
			})
			done := play(t, b, tt.world)
			s := b.Summary(done)
			file := filepath.Join(r.dir, "log")
			if err := os.WriteFile(file, []byte(s.Log()), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := r.try("bisect", "replay", file)
			first := b.Candidates[tt.culprit].Commits[0].Hash
			if tt.skipped {
				if err == nil || !strings.Contains(out, "only 'skip'ped commits left") || !strings.Contains(out, first) {
					t.Fatalf("%v\n%s\nof\n%s", err, out, s.Log())
				}
				return
			}
			if err != nil || !strings.Contains(out, first+" is the first new commit") {
				t.Fatalf("%v\n%s\nof\n%s", err, out, s.Log())
			}
			if want := "# first new commit: [" + first + "]"; !strings.Contains(s.Log(), want) {
				t.Errorf("the log lacks %q:\n%s", want, s.Log())
			}
		})
	}
}

func TestLogOfBeginning(t *testing.T) {
	b := newBisect(t, 14, nil)
	if got := b.Summary(nil).Log(); !strings.HasPrefix(got, "# asked, arm flip: ends\ngit bisect start ") || strings.Contains(got, "git bisect old") {
		t.Errorf("got\n%s", got)
	}
}
