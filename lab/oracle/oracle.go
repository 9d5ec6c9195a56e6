// Package oracle knows what files must contain, without asking ZFS, and compares.
package oracle

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
)

// Oracle knows what was written. The zero value knows of no file. It is safe for concurrent use.
type Oracle struct {
	mu    sync.Mutex
	files map[string]digest
}

// digest is the SHA-256 of a file: strong, and in an emulated guest only 1.4 times slower than the fastest of coreutils'
// strong ones (76 MB/s), where a KVM guest has instructions for it.
type digest [sha256.Size]byte

// parse reads hexadecimal digits, as sha256sum prints them.
func parse(text string) (d digest, err error) {
	if hex.DecodedLen(len(text)) != len(d) {
		return d, fmt.Errorf("%q is no sha-256", text)
	}
	_, err = hex.Decode(d[:], []byte(text))
	return d, err
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
	d, err := parse(sum)
	if err != nil {
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

// Copy notes that a file must contain what another one must contain by now.
func (o *Oracle) Copy(path, as string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	d, known := o.files[as]
	if !known {
		return fmt.Errorf("%s: nothing is known of %s, which it is said to be like", path, as)
	}
	o.files[path] = d
	return nil
}

// ForgetBelow takes back what was recorded of files below a directory.
func (o *Oracle) ForgetBelow(dir string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.DeleteFunc(o.files, func(path string, _ digest) bool { return strings.HasPrefix(path, dir+"/") })
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

// Compare takes what sha256sum -z printed for the recorded files, Files in that order. It prints for each either a record on
// stdout or one line on stderr, where names are quoted; so the lines belong, in order, to the paths without a record.
func (o *Oracle) Compare(stdout, stderr []byte) (Findings, error) {
	paths := o.Files()
	sums := map[string]digest{}
	for record := range bytes.SplitSeq(stdout, []byte{0}) {
		if len(record) == 0 {
			continue
		}
		sum, path, found := strings.Cut(string(record), "  ")
		d, err := parse(sum)
		if err != nil || !found {
			return nil, fmt.Errorf("sha256sum printed %q", record)
		}
		sums[path] = d
	}
	complaints := slices.Collect(strings.Lines(string(stderr)))
	if len(sums)+len(complaints) != len(paths) {
		return nil, fmt.Errorf("%d files, but %d digests and complaints %q", len(paths), len(sums), stderr)
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
