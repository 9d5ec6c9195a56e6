package guest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
)

// Oracle knows what was written, without asking ZFS. The zero value knows of no file. It is written as JSON beside a
// checkpoint, for the forks to be judged by. It is safe for concurrent use.
type Oracle struct {
	mu    sync.Mutex
	files map[string]digest
}

// digest is the SHA-256 of a file: strong, and in an emulated guest only 1.4 times slower than the fastest of coreutils'
// strong ones (76 MB/s), where a KVM guest has instructions for it.
type digest [sha256.Size]byte

// MarshalText gives hexadecimal digits, as sha256sum does.
func (d digest) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

// UnmarshalText is the reverse.
func (d *digest) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != len(d) {
		return fmt.Errorf("%q is no sha-256", text)
	}
	_, err := hex.Decode(d[:], text)
	return err
}

// Content is size bytes that no compression shortens, the same for the same seed and label on every host.
func Content(seed uint64, label string, size int) []byte {
	key := sha256.Sum256(append(binary.LittleEndian.AppendUint64(nil, seed), label...))
	data := make([]byte, size)
	_, _ = rand.NewChaCha8(key).Read(data) // never fails
	return data
}

// Record notes what a file must contain from now on. The path is the guest's, and may lead into a snapshot.
func (o *Oracle) Record(path string, data []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.files == nil {
		o.files = map[string]digest{}
	}
	o.files[path] = sha256.Sum256(data)
}

// Expect is Record for a file of which only the SHA-256 is known, in hexadecimal.
func (o *Oracle) Expect(path, sum string) error {
	var d digest
	if err := d.UnmarshalText([]byte(sum)); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.files == nil {
		o.files = map[string]digest{}
	}
	o.files[path] = d
	return nil
}

// Forget takes back what was recorded of a file, as it is to be removed.
func (o *Oracle) Forget(path string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.files, path)
}

// Files are the recorded paths in order.
func (o *Oracle) Files() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Sorted(maps.Keys(o.files))
}

// MarshalJSON gives an object of paths and SHA-256 digests.
func (o *Oracle) MarshalJSON() ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return json.Marshal(o.files)
}

// UnmarshalJSON replaces what the oracle knows.
func (o *Oracle) UnmarshalJSON(text []byte) error {
	var files map[string]digest
	if err := json.Unmarshal(text, &files); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.files = files
	return nil
}

// Result is what became of a file.
type Result string

// The results. Wrong is silent corruption: the bytes differ and nobody said so.
const (
	Intact     Result = "ok"
	Wrong      Result = "wrong"
	Unreadable Result = "unreadable"
	Missing    Result = "missing"
)

// Finding is what the oracle found about one file.
type Finding struct {
	Path   string `json:"path"`
	Result Result `json:"result"`
	// Detail is the guest's message about an unreadable file, like "Input/output error".
	Detail string `json:"detail,omitempty"`
}

// Findings are in the order of the paths, one for every recorded file.
type Findings []Finding

// Of are the paths of the files with a result.
func (f Findings) Of(r Result) []string {
	var paths []string
	for _, finding := range f {
		if finding.Result == r {
			paths = append(paths, finding.Path)
		}
	}
	return paths
}

// Verify reads every recorded file, with one command. Files that the guest has cached are not read from disk: to judge
// the disks, export and import the pool before.
func (o *Oracle) Verify(ctx context.Context, g *Guest) (Findings, error) {
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
	findings, err := o.judge(paths, output)
	if err != nil {
		return nil, fmt.Errorf("verify files: %w", err)
	}
	return findings, nil
}

// judge compares what sha256sum printed for paths. It works on them in order and prints for each either a record on
// stdout or one line on stderr, where names are quoted; so the lines belong, in order, to the paths without a record.
func (o *Oracle) judge(paths []string, output Output) (Findings, error) {
	sums := map[string]digest{}
	for record := range bytes.SplitSeq(output.Stdout, []byte{0}) {
		if len(record) == 0 {
			continue
		}
		sum, path, found := strings.Cut(string(record), "  ")
		var d digest
		if err := d.UnmarshalText([]byte(sum)); err != nil || !found {
			return nil, fmt.Errorf("sha256sum printed %q", record)
		}
		sums[path] = d
	}
	complaints := slices.Collect(strings.Lines(string(output.Stderr)))
	if len(sums)+len(complaints) != len(paths) {
		return nil, fmt.Errorf("%d files, but %d digests and complaints %q", len(paths), len(sums), output.Stderr)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	findings := make(Findings, 0, len(paths))
	for _, path := range paths {
		f := Finding{Path: path, Result: Intact}
		if sum, read := sums[path]; !read {
			if len(complaints) == 0 {
				return nil, fmt.Errorf("sha256sum printed nothing for %q", path)
			}
			f.Result, f.Detail = complaint(complaints[0])
			complaints = complaints[1:]
		} else if sum != o.files[path] {
			f.Result = Wrong
		}
		findings = append(findings, f)
	}
	return findings, nil
}

// complaint reads "sha256sum: /tank/file: Input/output error".
func complaint(line string) (Result, string) {
	line = strings.TrimSpace(line)
	reason := strings.TrimSpace(line[strings.LastIndex(line, ": ")+1:])
	if reason == "No such file or directory" {
		return Missing, ""
	}
	return Unreadable, reason
}
