package bench

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"path/filepath"

	"github.com/vdevil/vdevil/lab/host"
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
		if err := addDisk(sum, d.Path); err != nil {
			return nil, fmt.Errorf("sum up disk %s: %w", d.Name, err)
		}
	}
	made := t.fork.Made.UTC().Format("2006-01-02T15:04:05.000Z")
	return &trial.Exact{Checkpoint: filepath.Base(t.fork.Dir) + " of " + made, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

// sumBlock is the unit in which zeros of a disk are told from the rest, in bytes. The sizes of disks are multiples of it.
const sumBlock = 4096

// addDisk puts into a sum what is not zero of a sparse file, block by block with its offset: where the file has holes makes no difference.
func addDisk(sum hash.Hash, path string) error {
	zeros := make([]byte, sumBlock)
	return host.EachBlock(path, sumBlock, func(at int64, block []byte) {
		if !bytes.Equal(block, zeros) {
			sum.Write(binary.LittleEndian.AppendUint64(nil, uint64(at))) // a hash.Hash never returns an error
			sum.Write(block)
		}
	})
}
