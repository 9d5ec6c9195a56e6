package device_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vdevil/vdevil/lab/zfs/audit/device"
)

const size = 40<<20 + 512

// images are the same bytes as a raw image and as a qcow2 image.
func images(t *testing.T) (content []byte, raw, qcow2 string) {
	t.Helper()
	content = make([]byte, size)
	random := rand.NewChaCha8([32]byte{1})
	for _, at := range []int{0, 5 << 20, 17<<20 + 512, size - 1000} {
		if _, err := random.Read(content[at:min(at+1<<20, size)]); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	raw, qcow2 = filepath.Join(dir, "raw, with a comma"), filepath.Join(dir, "q,cow")
	if err := os.WriteFile(raw, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", raw, qcow2).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return content, raw, qcow2
}

func TestOpen(t *testing.T) {
	content, raw, qcow2 := images(t)
	for _, path := range []string{raw, qcow2} {
		for _, live := range []bool{false, true} {
			d, closer, err := device.Open(t.Context(), path, device.Options{Connections: 3, Live: live})
			if err != nil {
				t.Fatal(err)
			}
			if d.Size != size || d.Name != path {
				t.Errorf("%s has %d bytes", d.Name, d.Size)
			}
			var all sync.WaitGroup
			for i := range 8 {
				all.Go(func() {
					part := make([]byte, 3<<20+i)
					if n, err := d.Data.ReadAt(part, int64(i)<<22); err != nil || n != len(part) || !bytes.Equal(part, content[i<<22:][:n]) {
						t.Errorf("%s: part %d: %d bytes, %v", path, i, n, err)
					}
				})
			}
			all.Wait()
			end := make([]byte, 600)
			if n, err := d.Data.ReadAt(end, size-100); n != 100 || !errors.Is(err, io.EOF) || !bytes.Equal(end[:n], content[size-100:]) {
				t.Errorf("%s: at the end: %d bytes, %v", path, n, err)
			}
			if err := closer.Close(); err != nil {
				t.Error(err)
			}
			if _, err := d.Data.ReadAt(end, 0); err == nil {
				t.Errorf("%s: read after the end", path)
			}
		}
	}
}

// A QEMU that may write to an image keeps it from being opened, unless that is asked for.
func TestInUse(t *testing.T) {
	_, raw, qcow2 := images(t)
	for path, format := range map[string]string{raw: "raw", qcow2: "qcow2"} {
		socket := filepath.Join(t.TempDir(), "s")
		cmd := exec.Command("qemu-nbd", "--fork", "--persistent", "--pid-file="+socket+".pid", "--socket="+socket, "--format="+format, path)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		stop(t, socket+".pid")
		_, _, err := device.Open(t.Context(), path, device.Options{})
		var used *device.InUseError
		if !errors.As(err, &used) || used.Path != path {
			t.Errorf("%s: %v", path, err)
		}
		d, closer, err := device.Open(t.Context(), path, device.Options{Live: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Data.ReadAt(make([]byte, 512), 0); err != nil {
			t.Error(err)
		}
		closer.Close()
	}
}

// stop ends the process whose number is in a file when the test does.
func stop(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pid := 0
	for _, c := range bytes.TrimSpace(text) {
		pid = 10*pid + int(c-'0')
	}
	t.Cleanup(func() {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Error(err)
		}
	})
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bad"), []byte("QFI\xfb and nothing that QEMU knows"), 0o600); err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "none"), "/dev/null", pipe, filepath.Join(dir, "bad")} {
		if _, _, err := device.Open(t.Context(), path, device.Options{}); err == nil {
			t.Errorf("%s was opened", path)
		}
	}
}
