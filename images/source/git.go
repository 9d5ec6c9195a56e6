package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// call is one run of git.
type call struct {
	dir   string   // where
	env   []string // GIT_… variables
	args  []string
	stdin io.Reader
}

// Error is a git command that ended with an error.
type Error struct {
	Args   []string
	Stderr string
	Err    error
}

func (e *Error) Error() string {
	text := strings.TrimSpace(e.Stderr)
	if text == "" {
		text = e.Err.Error()
	}
	s := fmt.Sprintf("git %s: %s", verb(e.Args), text)
	for _, r := range remedies {
		if strings.Contains(e.Stderr, r.says) {
			return s + ": " + r.remedy
		}
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// verb is the name of a command, after its settings.
func verb(args []string) string {
	for len(args) > 2 && args[0] == "-c" {
		args = args[2:]
	}
	return args[0]
}

// remedies are what git may say and what to do then.
var remedies = []struct{ says, remedy string }{
	{"No space left on device", roomRemedy},
	{"Disk quota exceeded", roomRemedy},
	{"promisor remote", "the clone is a partial one without this file: " + refetch},
	{"not allowed", "the clone is a partial one without this file: " + refetch},
}

const roomRemedy = "the disk is full: free space and repeat the command, which goes on from here"

// refetch brings what a partial clone left out.
const refetch = "git fetch --refetch --no-filter in the checkout brings all"

// theirs asks the user's repository for names and settings. Nothing else is done in it.
func (r *Repo) theirs(ctx context.Context, args ...string) ([]byte, error) {
	return r.run(ctx, call{env: []string{"GIT_DIR=" + r.gitDir}, dir: r.gitDir, args: args})
}

// ours works in the git directory of ours, which has all objects and none of the settings of theirs.
func (r *Repo) ours(ctx context.Context, c call) ([]byte, error) {
	c.env = append([]string{"GIT_DIR=" + r.own}, c.env...)
	if c.dir == "" {
		c.dir = r.own
	}
	return r.run(ctx, c)
}

// alone is for commands that write objects. They see only those that we wrote: when git is to write an object that it finds
// elsewhere, it sets the time of that file, and of a whole pack, which are theirs.
func (r *Repo) alone() string { return "GIT_OBJECT_DIRECTORY=" + filepath.Join(r.own, "edits") }

func (r *Repo) run(ctx context.Context, c call) ([]byte, error) {
	cmd := r.command(ctx, c)
	var out, text bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.stdin, &out, &text
	// The kernel sends the death signal when the thread ends that started the child: it must live as long as the child does.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("git %s: %w", verb(c.args), ctx.Err())
		}
		return nil, &Error{Args: c.args, Stderr: text.String(), Err: err}
	}
	return out.Bytes(), nil
}

func (r *Repo) command(ctx context.Context, c call) *exec.Cmd {
	cmd := exec.CommandContext(ctx, r.git, append(settings(), c.args...)...)
	cmd.Dir, cmd.Env = c.dir, append(environment(), c.env...)
	cmd.WaitDelay = time.Second
	return cmd
}

// settings keep git from running what a stranger's repository names, and from looking who owns it.
func settings() []string {
	return []string{
		"--no-pager", "--no-replace-objects", "--literal-pathspecs",
		"-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.untrackedCache=false",
		"-c", "core.splitIndex=false", "-c", "core.attributesFile=/dev/null",
		"-c", "core.quotePath=false", "-c", "advice.objectNameWarning=false",
	}
}

// environment is ours without what GIT_ variables would change.
func environment() []string {
	var env []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, "GIT_") && name != "LC_ALL" && name != "LANGUAGE" {
			env = append(env, v)
		}
	}
	return append(env, "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "GIT_ATTR_NOSYSTEM=1",
		// The user's settings are about their work in checkouts. The one that matters, of ignored files, is asked for by itself.
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		// A partial clone fetches a missing object when it is read, into the clone: no transport, no fetch.
		"GIT_NO_LAZY_FETCH=1", "GIT_ALLOW_PROTOCOL=none")
}

// exited says whether git ended with that code and without a message, which is how it says no.
func exited(err error, code int) bool {
	var g *Error
	var e *exec.ExitError
	return errors.As(err, &g) && errors.As(g.Err, &e) && e.ExitCode() == code && strings.TrimSpace(g.Stderr) == ""
}
