package scripttest

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/vdevil/vdevil/lab/machine"
)

// manifest is the one file of a checkpoint: there is no machine to be kept.
const manifest = "checkpoint.json"

// writeCheckpoint makes the directory of a checkpoint, which must not exist, under another name first, as drivers do.
func writeCheckpoint(dir string, cp machine.Checkpoint) error {
	part := dir + machine.PartSuffix
	if err := os.Mkdir(part, 0o700); err != nil {
		return err
	}
	text, err := json.Marshal(cp)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(part, manifest), text, 0o600); err != nil {
		return err
	}
	return os.Rename(part, dir)
}

// OpenCheckpoint reads a checkpoint of a scripted machine. One that does not exist is os.ErrNotExist.
func OpenCheckpoint(dir string) (*machine.Checkpoint, error) {
	text, err := os.ReadFile(filepath.Join(dir, manifest))
	if err != nil {
		return nil, err
	}
	cp := &machine.Checkpoint{Dir: dir}
	return cp, json.Unmarshal(text, cp)
}
