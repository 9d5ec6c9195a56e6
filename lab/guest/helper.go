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
	"path/filepath"
	"slices"

	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/ops"
)

//go:embed helper/*.go
var helperSource embed.FS

// helperFiles are the helper's, by name.
func helperFiles() map[string][]byte {
	files := map[string][]byte{}
	names, err := fs.Glob(helperSource, "helper/*.go")
	for _, name := range names {
		var text []byte
		if text, err = helperSource.ReadFile(name); err != nil {
			break
		}
		files[filepath.Base(name)] = text
	}
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
	path := filepath.Join(dirs.Cache, "helpers", HelperName())
	if program, err = os.ReadFile(path); err == nil {
		return program, nil
	}
	compiler, err := exec.LookPath("go")
	if err != nil {
		return nil, fmt.Errorf("operations are done by a helper in the guest, which is compiled once: %w; install Go", err)
	}
	dir, err := os.MkdirTemp("", "vdevil-helper-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	built := filepath.Join(dir, "helper")
	arguments := []string{"build", "-trimpath", "-ldflags=-s -w", "-o", built}
	for name, text := range helperFiles() {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return nil, err
		}
		arguments = append(arguments, name)
	}
	//nolint:gosec // the compiler that is on the path, and nothing that a user gave
	c := exec.CommandContext(ctx, compiler, arguments...)
	c.Dir = dir
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=", "GOWORK=off")
	if said, err := c.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compiling the helper for guests: %w: %s", err, bytes.TrimSpace(said))
	}
	if program, err = os.ReadFile(built); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	return program, host.WriteFile(path, program, 0o755)
}

// Do asks the helper for one thing after the other and calls tell with each answer as it comes. It does not stop at one that says
// no; that is for the caller to judge.
func (g *Guest) Do(ctx context.Context, requests []ops.Request, tell func(i int, a ops.Answer)) error {
	program, err := buildHelper(ctx)
	if err != nil {
		return fmt.Errorf("operations: %w", err)
	}
	input := bytes.NewBuffer(program)
	// The program comes first, and leaves nothing behind: its file has no name any more when it begins.
	command := fmt.Sprintf(`f=$(mktemp) && head -c %d >"$f" && chmod 700 "$f" && exec 3<"$f" && rm "$f" && exec /proc/self/fd/3`, len(program))
	if g.line != nil { // which is the same program
		input.Reset()
		command = "exec " + listenerPath
	}
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
