package atlas

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// Header says which atlas results belong to. Results of another are of no use to it.
type Header struct {
	Target  string `json:"target"`
	Trigger string `json:"trigger"`
	OpenZFS string `json:"openzfs"`
	Seed    uint64 `json:"seed"`
	// Instant names the checkpoint that is forked, e.g. by when it was made: another one is another moment.
	Instant string `json:"instant,omitempty"`
}

func (h Header) String() string {
	return fmt.Sprintf("%s at %s, OpenZFS %s, seed %d, from checkpoint %q", h.Target, h.Trigger, h.OpenZFS, h.Seed, h.Instant)
}

// MismatchError is the refusal to go on with the results of another atlas.
type MismatchError struct {
	Path         string
	Stored, Want Header
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s holds another atlas: %s; asked for is %s", e.Path, e.Stored, e.Want)
}

// record is one line of a store: the header in the first, then one trial each.
type record struct {
	Header  *Header  `json:"atlas,omitempty"`
	Bit     *Bit     `json:"bit,omitempty"`
	Control *Control `json:"control,omitempty"`
}

// Store keeps the results of an atlas in a file, one line a trial, so that a killed one goes on where it was. Its methods
// may be called from several goroutines. One process at a time may have it open.
type Store struct {
	mu       sync.Mutex
	file     *os.File
	done     map[int]Bit
	controls []Control
}

// OpenStore opens a store, or makes it and its directory. A line that was torn when the writer was killed is dropped, and
// its trial is done again. The error is a *MismatchError if the results are those of another atlas.
func OpenStore(path string, header Header) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	s := &Store{file: f, done: map[int]Bit{}}
	if err := s.load(header); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

func (s *Store) load(header Header) error {
	data, err := io.ReadAll(s.file)
	if err != nil {
		return fmt.Errorf("loading store: %w", err)
	}
	whole := bytes.LastIndexByte(data, '\n') + 1
	n := 0
	for l := range bytes.Lines(data[:whole]) {
		n++
		var r record
		if err := json.Unmarshal(l, &r); err != nil {
			return fmt.Errorf("loading store %s, line %d: %w", s.file.Name(), n, err)
		}
		if n == 1 && r.Header == nil {
			return fmt.Errorf("loading store %s: its first line is not the header of an atlas", s.file.Name())
		}
		switch {
		case r.Header != nil && *r.Header != header:
			return &MismatchError{Path: s.file.Name(), Stored: *r.Header, Want: header}
		case r.Bit != nil:
			s.done[r.Bit.Bit] = *r.Bit
		case r.Control != nil:
			s.controls = append(s.controls, *r.Control)
		}
	}
	// What is torn ends where nothing was written since: the next line takes its place.
	if err := s.file.Truncate(int64(whole)); err != nil {
		return fmt.Errorf("loading store: %w", err)
	}
	if _, err := s.file.Seek(int64(whole), io.SeekStart); err != nil {
		return fmt.Errorf("loading store: %w", err)
	}
	if n == 0 {
		return s.append(record{Header: &header})
	}
	return nil
}

// Done are the bits that have been tried, by number.
func (s *Store) Done() map[int]Bit {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.done)
}

// Controls are the trials without a flip that have been made.
func (s *Store) Controls() []Control {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.controls)
}

// Add stores the trial of a bit. A bit that is added again replaces what was stored.
func (s *Store) Add(b Bit) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.append(record{Bit: &b}); err != nil {
		return err
	}
	s.done[b.Bit] = b
	return nil
}

// AddControl stores a trial without a flip.
func (s *Store) AddControl(c Control) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.append(record{Control: &c}); err != nil {
		return err
	}
	s.controls = append(s.controls, c)
	return nil
}

func (s *Store) append(r record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("storing a trial: %w", err)
	}
	if _, err := s.file.Write(append(data, '\n')); err != nil {
		return fmt.Errorf("storing a trial: %w", err)
	}
	return nil
}

// Close closes the file.
func (s *Store) Close() error { return s.file.Close() }
