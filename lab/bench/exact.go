package bench

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/vdevil/vdevil/lab/trial"
)

// exact switches the machine off, unless it is, and sums up what every repeat gives.
func (t *run) exact(ctx context.Context) (*trial.Exact, error) {
	if err := t.off(ctx); err != nil {
		return nil, err
	}
	sum := sha256.New()
	for _, l := range t.all() {
		<-l.vm.Done() // after which its console is whole
		console := l.vm.Console()
		sum.Write(console.Bytes()[console.Start():])
	}
	for _, d := range t.now().vm.Disks() {
		if _, err := addFile(sum, d.Path); err != nil {
			return nil, fmt.Errorf("sum up disk %s: %w", d.Name, err)
		}
	}
	made := t.fork.Made.UTC().Format("2006-01-02T15:04:05.000Z")
	return &trial.Exact{Checkpoint: filepath.Base(t.fork.Dir) + " of " + made, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

// addFile copies a file into a sum and says how long it is.
func addFile(sum io.Writer, path string) (size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return io.Copy(sum, f)
}
