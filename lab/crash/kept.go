package crash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/nbd"
)

// What a record is kept as, in a directory of its own: kept as JSON, the data of all writes, and the disks as they were before,
// base-0 and so on.
const (
	keptFile   = "record.json"
	writesFile = "writes"
	baseFile   = "base-"
)

// kept is a record without its data.
type kept struct {
	Request  Request       `json:"request"`
	Sizes    []int64       `json:"sizes"` // of the disks, in bytes
	Events   []keptEvent   `json:"events"`
	Promises []keptPromise `json:"promises"`
}

type keptEvent struct {
	Disk   int    `json:"disk"`
	Op     nbd.Op `json:"op"`
	Offset int64  `json:"offset"`
	Length int64  `json:"length"`
	FUA    bool   `json:"fua,omitempty"`
	Data   int64  `json:"data,omitempty"`
}

type keptPromise struct {
	guest.Promise
	At int `json:"at"`
}

// Keep writes the record into a directory, from which Recall has it again.
func (s *Study) Keep(ctx context.Context, dir string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("keep the record of a power cut: %w", errors.Join(err, os.RemoveAll(dir)))
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	open := map[string]*os.File{writesFile: s.record.log.spool}
	for i, f := range s.record.bases {
		open[baseFile+strconv.Itoa(i)] = f
	}
	for name, f := range open { // by descriptor: the log has no name
		if err := host.CloneFile(ctx, filepath.Join(dir, name), fmt.Sprintf("/proc/self/fd/%d", f.Fd())); err != nil {
			return err
		}
	}
	k := kept{Request: s.Request}
	for _, d := range s.record.disks.disks {
		k.Sizes = append(k.Sizes, d.size)
	}
	for _, e := range s.record.log.events {
		k.Events = append(k.Events, keptEvent{e.Disk, e.Op, e.Offset, e.Length, e.FUA, e.data})
	}
	for _, p := range s.record.promises {
		k.Promises = append(k.Promises, keptPromise{p.Promise, p.at})
	}
	text, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return host.WriteFile(filepath.Join(dir, keptFile), text, 0o600) // the last: a record with it is whole
}

// ReadRequest says of what study a directory has the record.
func ReadRequest(dir string) (Request, error) {
	k, err := readKept(dir)
	return k.Request, err
}

func readKept(dir string) (k kept, err error) {
	text, err := os.ReadFile(filepath.Join(dir, keptFile))
	if err != nil {
		return k, err
	}
	if err := json.Unmarshal(text, &k); err != nil {
		return k, fmt.Errorf("%s is damaged: %w", filepath.Join(dir, keptFile), err)
	}
	return k, nil
}

// Recall takes the record that Keep has written, in the place of Record.
func (s *Study) Recall(ctx context.Context, dir string) error {
	k, err := readKept(dir)
	if err == nil {
		s.Request = k.Request
		err = s.begin(ctx)
	}
	if err == nil {
		s.record, err = k.open(dir)
	}
	if err != nil {
		return fmt.Errorf("recall a power cut: %w", err)
	}
	states, _ := s.plan()
	s.choose(states)
	return nil
}

// open gives the record with its data.
func (k kept) open(dir string) (_ *record, err error) {
	r := &record{log: &Log{limit: maxLog}}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if r.log.spool, err = os.Open(filepath.Join(dir, writesFile)); err != nil {
		return nil, err
	}
	for _, e := range k.Events {
		r.log.events = append(r.log.events, Event{e.Disk, e.Op, e.Offset, e.Length, e.FUA, e.Data})
	}
	for _, p := range k.Promises {
		r.promises = append(r.promises, promise{p.Promise, p.At})
	}
	readers := make([]io.ReaderAt, len(k.Sizes))
	for i := range k.Sizes {
		f, err := os.Open(filepath.Join(dir, baseFile+strconv.Itoa(i)))
		if err != nil {
			return nil, err
		}
		r.bases, readers[i] = append(r.bases, f), f
	}
	r.disks = NewDisks(r.log, readers, k.Sizes)
	return r, nil
}
