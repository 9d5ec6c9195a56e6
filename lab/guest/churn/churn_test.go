package churn

import (
	"bytes"
	"maps"
	"testing"
)

// TestSeed expects the same pieces of the same seed and name, and others of others.
func TestSeed(t *testing.T) {
	after := func(seed uint64, name string, pieces int) map[string][]byte {
		files := map[string][]byte{}
		New(seed, name, 7).Write(files, pieces)
		return files
	}
	same := func(a, b map[string][]byte) bool { return maps.EqualFunc(a, b, bytes.Equal) }
	first := after(1, "f", 500)
	if !same(first, after(1, "f", 500)) {
		t.Error("one seed gives two orders")
	}
	if same(first, after(2, "f", 500)) || same(first, after(1, "f", 499)) {
		t.Error("another seed, or one piece less, makes no difference")
	}
	if a, b := New(1, "f", 7), New(1, "g", 7); a.text == b.text {
		t.Error("two names have the same text")
	}
	if len(first) != 7 {
		t.Errorf("%d files", len(first))
	}
	for name, data := range first {
		if name[0] != 'f' || len(data) < least || len(data) > most {
			t.Errorf("%s has %d bytes", name, len(data))
		}
	}
}

// TestWrite expects a piece to leave what is behind it.
func TestWrite(t *testing.T) {
	files := map[string][]byte{"f0": bytes.Repeat([]byte{'!'}, most+1)}
	c := New(3, "f", 1)
	c.Write(files, 1)
	_, data := New(3, "f", 1).Next()
	if got := files["f0"]; !bytes.HasPrefix(got, data) || !bytes.Equal(got[len(data):], bytes.Repeat([]byte{'!'}, most+1-len(data))) {
		t.Errorf("%.20q and %d bytes", got, len(got))
	}
}
