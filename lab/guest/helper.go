package guest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"

	"al.essio.dev/pkg/shellescape"

	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/ops"
)

//go:embed helper/*.go churn/churn.go
var helperSource embed.FS

// helperModule makes a module of them, in which they have the paths that they import each other by.
const helperModule = "module github.com/vdevil/vdevil/lab/guest\n\ngo 1.24\n"

// helperFiles are those that the helper is compiled of, by path.
func helperFiles() map[string][]byte {
	files := map[string][]byte{"go.mod": []byte(helperModule)}
	err := fs.WalkDir(helperSource, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files[name], err = helperSource.ReadFile(name)
		}
		return err
	})
	if err != nil {
		panic(err) // they are part of this program
	}
	return files
}

// HelperName names the helper by its text. What a checkpoint of a counted guest runs is this one.
func HelperName() string {
	sum, files := sha256.New(), helperFiles()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		sum.Write(files[name])
	}
	return "helper-" + hex.EncodeToString(sum.Sum(nil)[:8])
}

// buildHelper gives the helper as a program that needs nothing of the guest but its kernel. It is compiled once and kept in the cache.
func buildHelper(ctx context.Context) (program []byte, err error) {
	dirs, err := host.DefaultDirs()
	if err != nil {
		return nil, err
	}
	kept := filepath.Join(dirs.Cache, "helpers", HelperName())
	if program, err = os.ReadFile(kept); err == nil {
		return program, nil
	}
	compiler, err := exec.LookPath("go")
	if err != nil {
		return nil, fmt.Errorf("guests have a helper that does operations and loads, which is compiled once: %w; install Go", err)
	}
	dir, err := os.MkdirTemp("", "vdevil-helper-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	built := filepath.Join(dir, "program")
	for name, text := range helperFiles() {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, text, 0o600)); err != nil {
			return nil, err
		}
	}
	//nolint:gosec // the compiler that is on the path, and nothing that a user gave
	c := exec.CommandContext(ctx, compiler, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", built, "./helper")
	c.Dir = dir
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=", "GOWORK=off")
	if said, err := c.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compiling the helper for guests: %w: %s", err, bytes.TrimSpace(said))
	}
	if program, err = os.ReadFile(built); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(kept), 0o700); err != nil {
		return nil, err
	}
	return program, host.WriteFile(kept, program, 0o755)
}

// helperDir is where a guest has the helper, under its name.
const helperDir = "/usr/local/sbin"

// Install puts the helper into the guest, so that forks of a checkpoint that is taken then have it.
func (g *Guest) Install(ctx context.Context) error {
	program, err := buildHelper(ctx)
	if err != nil {
		return err
	}
	const command = `f=$(mktemp) && cat >"$f" && install "$f" %s && rm "$f"` // for all to execute
	_, err = g.run(ctx, fmt.Sprintf(command, path.Join(helperDir, HelperName())), bytes.NewReader(program))
	return err
}

// helper gives a command that runs the helper, and what the command must read first. A guest without one is given it, and keeps nothing:
// the file has no name any more when the program begins.
func (g *Guest) helper(ctx context.Context, args ...string) (command string, input []byte, err error) {
	words := ""
	if len(args) > 0 {
		words = " " + shellescape.QuoteCommand(args)
	}
	there := path.Join(helperDir, HelperName())
	if g.line != nil {
		return "exec " + there + words, nil, nil
	}
	if _, err = g.run(ctx, "test -x "+there, nil); err == nil {
		return "exec " + there + words, nil, nil
	}
	if !errors.As(err, new(*ExitError)) {
		return "", nil, err
	}
	input, err = buildHelper(ctx)
	const bring = `f=$(mktemp) && head -c %d >"$f" && chmod 700 "$f" && exec 3<"$f" && rm "$f" && exec /proc/self/fd/3%s`
	return fmt.Sprintf(bring, len(input), words), input, err
}

// Do asks the helper for one thing after the other and calls tell with each answer as it comes. It does not stop at one that says
// no; that is for the caller to judge.
func (g *Guest) Do(ctx context.Context, requests []ops.Request, tell func(i int, a ops.Answer)) error {
	command, program, err := g.helper(ctx)
	if err != nil {
		return fmt.Errorf("operations: %w", err)
	}
	input := bytes.NewBuffer(program)
	encoder := json.NewEncoder(input)
	for _, r := range requests {
		if err := encoder.Encode(r); err != nil {
			return fmt.Errorf("operations: %w", err)
		}
	}
	n, strange := 0, error(nil)
	lines := &lineWriter{line: func(line string) {
		var a ops.Answer
		if err := json.Unmarshal([]byte(line), &a); err != nil || n == len(requests) {
			strange = errors.Join(strange, fmt.Errorf("the helper said %q", line))
			return
		}
		tell(n, a)
		n++
	}}
	_, err = g.runTo(ctx, command, input, lines, io.Discard)
	switch {
	case err != nil: // answers may be on their way yet
	case strange != nil:
		err = strange
	case n < len(requests):
		err = fmt.Errorf("of %d operations %d were answered", len(requests), n)
	default:
		return nil
	}
	return fmt.Errorf("operations: %w", err)
}
