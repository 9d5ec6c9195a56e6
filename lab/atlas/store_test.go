package atlas

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/trial"
)

var header = Header{Target: "blkptr.blk_dva[0]", Trigger: "zio_free_sync", OpenZFS: "2.3.2", Seed: 42, Instant: "2026-11-20T09:30:00Z"}

func openStore(t *testing.T, path string) *Store {
	t.Helper()
	s, err := OpenStore(path, header)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func add(t *testing.T, s *Store, bits ...Bit) {
	t.Helper()
	for _, b := range bits {
		if err := s.Add(b); err != nil {
			t.Fatal(err)
		}
	}
}

// A writer that is killed in the middle of a line loses that line alone, wherever it is torn.
func TestStoreTorn(t *testing.T) {
	one := Bit{Bit: 1, Field: "dva_word[0]", Outcome: trial.Panic, Signature: "s@f", Text: "two\nlines", Seconds: 1.5}
	two := Bit{Bit: 2, Field: "dva_word[0]", Outcome: trial.Masked, Seconds: 4}
	path := filepath.Join(t.TempDir(), "new", "atlas.jsonl")
	s := openStore(t, path)
	add(t, s, one)
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AddControl(Control{Outcome: trial.Masked, Seconds: 4}); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	add(t, s, two)
	full, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for size := range len(full) + 1 {
		torn := filepath.Join(t.TempDir(), "atlas.jsonl")
		if err := os.WriteFile(torn, full[:size], 0o644); err != nil {
			t.Fatal(err)
		}
		s := openStore(t, torn)
		want := map[int]Bit{}
		if size >= len(full) {
			want[2] = two
		}
		if size >= len(first) {
			want[1] = one
		}
		if got, n := s.Done(), len(s.Controls()); !maps.Equal(got, want) || (n == 1) != (size >= len(whole)) {
			t.Fatalf("of %d bytes: %v and %d controls, want %v", size, got, n, want)
		}
		short := Bit{Bit: 3, Outcome: trial.Masked}
		add(t, s, short) // after what was torn, and perhaps shorter
		want[3] = short
		if got := openStore(t, torn).Done(); !maps.Equal(got, want) {
			t.Fatalf("of %d bytes, and then some: %v, want %v", size, got, want)
		}
		left, err := os.ReadFile(torn)
		if err != nil || !bytes.HasSuffix(left, []byte("}\n")) {
			t.Fatalf("of %d bytes, and then some, the file ends in half a line: %q (%v)", size, left, err)
		}
	}
}

func TestStoreOfAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "atlas.jsonl")
	add(t, openStore(t, path), Bit{Bit: 1, Outcome: trial.Masked})
	for name, change := range map[string]func(*Header){
		"target":  func(h *Header) { h.Target = "blkptr.blk_dva[1]" },
		"trigger": func(h *Header) { h.Trigger = "now" },
		"openzfs": func(h *Header) { h.OpenZFS = "2.3.9" },
		"seed":    func(h *Header) { h.Seed++ },
		"instant": func(h *Header) { h.Instant = "2026-11-21T09:30:00Z" },
	} {
		h := header
		change(&h)
		_, err := OpenStore(path, h)
		var mismatch *MismatchError
		if !errors.As(err, &mismatch) || mismatch.Want != h || mismatch.Stored != header || !strings.Contains(err.Error(), header.String()) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	if got := openStore(t, path).Done(); len(got) != 1 {
		t.Errorf("after being refused: %v", got)
	}
}

func TestStoreOfNonsense(t *testing.T) {
	for name, text := range map[string]string{
		"no header": `{"bit":{"bit":1}}` + "\n",
		"not JSON":  "hello\n",
		"damage":    `{"atlas":{"target":"blkptr.blk_dva[0]","trigger":"zio_free_sync","openzfs":"2.3.2","seed":42,"instant":"2026-11-20T09:30:00Z"}}` + "\nx\n{}\n",
	} {
		path := filepath.Join(t.TempDir(), "atlas.jsonl")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenStore(path, header); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v", name, err)
		}
		if left, err := os.ReadFile(path); err != nil || string(left) != text {
			t.Errorf("%s: the file was changed to %q (%v)", name, left, err)
		}
	}
}
