package bench

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"
)

// TestAddDisk has two disks of equal content, one with a hole where the other has zeros, and two that differ in one byte or in where it is.
func TestAddDisk(t *testing.T) {
	const size = 4 << 20
	sum := func(name string, whole bool, at int64, b byte) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), name)
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err = f.Truncate(size); whole {
			_, err = f.Write(make([]byte, size))
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte{b}, at); err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		if err := addDisk(h, path); err != nil {
			t.Fatal(err)
		}
		return string(h.Sum(nil))
	}
	first := sum("sparse", false, size-1, 1)
	if got := sum("whole", true, size-1, 1); got != first {
		t.Error("zeros are not as a hole")
	}
	for name, other := range map[string]string{
		"another byte": sum("byte", false, size-1, 2), "another place": sum("place", false, size-2, 1), "another block": sum("block", false, 0, 1),
		"nothing": sum("nothing", false, size-1, 0),
	} {
		if other == first {
			t.Errorf("%s makes no difference", name)
		}
	}
}
