package crash

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/vdevil/vdevil/lab/guest"
)

// TestKept expects a record that was kept to give the same states, byte for byte, and its promises.
func TestKept(t *testing.T) {
	l, disks := workload(t, 400, 7)
	s := &Study{Request: Request{States: 40, Seed: 3, Recorded: Recorded{ID: "one"}}}
	s.record = &record{log: l, disks: disks, promises: []promise{{guest.Promise{Path: "a", Sum: "b"}, 5}}}
	for range modelDisks {
		f, err := os.CreateTemp(t.TempDir(), "base")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(base); err != nil {
			t.Fatal(err)
		}
		s.record.bases = append(s.record.bases, f)
	}
	dir := filepath.Join(t.TempDir(), "record")
	if err := s.Keep(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if r, err := ReadRequest(dir); err != nil || !reflect.DeepEqual(r, s.Request) {
		t.Errorf("the request is %+v, %v", r, err)
	}
	k, err := readKept(dir)
	if err != nil {
		t.Fatal(err)
	}
	again := &Study{Request: k.Request}
	if again.record, err = k.open(dir); err != nil {
		t.Fatal(err)
	}
	defer again.record.close()
	want, _ := s.plan()
	got, _ := again.plan()
	if !reflect.DeepEqual(want, got) || !reflect.DeepEqual(again.record.promises, s.record.promises) {
		t.Error("it has other states, or other promises")
	}
	for i := range want {
		for disk := range modelDisks {
			if !bytes.Equal(whole(t, disks.View(want[i], disk)), whole(t, again.record.disks.View(got[i], disk))) {
				t.Fatalf("disk %d of state %d differs", disk, i+1)
			}
		}
	}
}

func whole(t *testing.T, v *View) []byte {
	t.Helper()
	p := make([]byte, v.Size())
	if _, err := v.ReadAt(p, 0); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestNotKept expects nothing to be left of a record that could not be kept, and a clear word about one that is not whole.
func TestNotKept(t *testing.T) {
	l, disks := workload(t, 4, 7)
	s := &Study{record: &record{log: l, disks: disks}}
	dir := filepath.Join(t.TempDir(), "record")
	if err := os.MkdirAll(filepath.Join(dir, writesFile), 0o755); err != nil { // in the way
		t.Fatal(err)
	}
	if err := s.Keep(t.Context(), dir); err == nil {
		t.Error("kept")
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something is left: %v", err)
	}
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, keptFile), []byte("{"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadRequest(dir); err == nil || !bytes.Contains([]byte(err.Error()), []byte("record.json is damaged")) {
		t.Errorf("got %v", err)
	}
}
