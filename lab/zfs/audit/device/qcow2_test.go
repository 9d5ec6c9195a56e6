package device_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vdevil/vdevil/lab/zfs/audit/device"
)

// qemu runs a program of QEMU in a directory.
func qemu(t testing.TB, dir, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", cmd, err, out)
	}
}

// equals reads an image in pieces that fit nothing, and compares it.
func equals(t *testing.T, path string, want []byte, o device.Options) {
	t.Helper()
	d, closer, err := device.Open(t.Context(), path, o)
	if err != nil {
		t.Error(err)
		return
	}
	if d.Size != int64(len(want)) {
		t.Errorf("%s has %d bytes", path, d.Size)
	}
	got := make([]byte, len(want))
	for at := 0; at < len(got); {
		part := got[at:min(at+300_001, len(got))]
		if n, err := d.Data.ReadAt(part, int64(at)); n != len(part) || err != nil && !errors.Is(err, io.EOF) {
			t.Fatalf("%s at %d: %d bytes, %v", path, at, n, err)
		}
		at += len(part)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s has another content", path)
	}
	if err := closer.Close(); err != nil {
		t.Error(err)
	}
}

// All that qemu-img makes is read as QEMU reads it.
func TestVariants(t *testing.T) {
	content, raw, _ := images(t)
	for _, options := range []string{
		"cluster_size=512", "cluster_size=4k", "cluster_size=2M", "compat=0.10", "preallocation=metadata", "preallocation=full",
		"compression_type=zstd", "lazy_refcounts=on", "extended_l2=on", "cluster_size=4k,compression_type=zstd", "extended_l2=on,cluster_size=128k",
	} {
		for _, more := range [][]string{nil, {"-c"}} {
			if len(more) > 0 && strings.Contains(options, "preallocation") {
				continue
			}
			t.Run(options+fmt.Sprint(more), func(t *testing.T) {
				dir := t.TempDir()
				qemu(t, dir, "qemu-img", slices.Concat([]string{"convert", "-f", "raw", "-O", "qcow2", "-o", options}, more, []string{raw, "i"})...)
				path := filepath.Join(dir, "i")
				equals(t, path, content, device.Options{})
				// What was written over, with a snapshot of what there was, in clusters, parts of them, and zeroes.
				qemu(t, dir, "qemu-img", "snapshot", "-c", "s", "i")
				qemu(t, dir, "qemu-io", "-f", "qcow2", "-c", "write -P 0x5a 1000k 3000k", "-c", "write -z 17M 300k", "-c", "discard 5M 1M", "i")
				qemu(t, dir, "qemu-img", "convert", "-f", "qcow2", "-O", "raw", "i", "o")
				want, err := os.ReadFile(filepath.Join(dir, "o"))
				if err != nil {
					t.Fatal(err)
				}
				equals(t, path, want, device.Options{Connections: 2})
			})
		}
	}
}

// watched tells which files are opened, by whatever process.
type watched struct {
	t  *testing.T
	fd int
}

func watch(t *testing.T, paths ...string) *watched {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	for _, p := range paths {
		if _, err := unix.InotifyAddWatch(fd, p, unix.IN_OPEN); err != nil {
			t.Fatal(err)
		}
	}
	return &watched{t, fd}
}

// opened says whether one of the files was opened since it was asked last.
func (w *watched) opened() bool {
	w.t.Helper()
	n, err := unix.Read(w.fd, make([]byte, 1<<12))
	if err != nil && !errors.Is(err, unix.EAGAIN) {
		w.t.Fatal(err)
	}
	return n > 0
}

// No file that an image names is opened unless that is asked for, and then it is told.
func TestBacking(t *testing.T) {
	_, raw, _ := images(t)
	dir := t.TempDir()
	base, middle, top := filepath.Join(dir, "base"), filepath.Join(dir, "middle"), filepath.Join(dir, "top")
	// A short raw image below a longer qcow2 one below another.
	if err := errors.Join(os.Rename(raw, base), os.Truncate(base, 30<<20+512)); err != nil {
		t.Fatal(err)
	}
	qemu(t, dir, "qemu-img", "create", "-f", "qcow2", "-F", "raw", "-b", "base", "middle", "40M")
	qemu(t, dir, "qemu-io", "-f", "qcow2", "-c", "write -P 1 1000k 100k", "-c", "write -z 6M 64k", "-c", "write -P 2 39M 4k", "middle")
	for _, options := range []string{"cluster_size=64k", "extended_l2=on", "cluster_size=4k", "data_file=clusters", "data_file=clusters,data_file_raw=on"} {
		t.Run(options, func(t *testing.T) {
			os.Remove(top)
			args := []string{"create", "-f", "qcow2", "-o", options}
			if !strings.Contains(options, "raw") {
				args = append(args, "-F", "qcow2", "-b", "middle")
			}
			qemu(t, dir, "qemu-img", append(args, "top", "50M")...)
			qemu(t, dir, "qemu-io", "-f", "qcow2", "-c", "write -P 3 5000k 1000k", "-c", "write -P 4 45M 1k", "top")
			qemu(t, dir, "qemu-img", "convert", "-f", "qcow2", "-O", "raw", "top", "out")
			want, err := os.ReadFile(filepath.Join(dir, "out"))
			if err != nil {
				t.Fatal(err)
			}
			names := []string{middle, base}
			what := "backing file"
			if strings.Contains(options, "data_file") {
				what, names = "data file", append([]string{filepath.Join(dir, "clusters")}, names...)
			}
			if strings.Contains(options, "raw") {
				names = names[:1]
			}
			others := watch(t, names...)
			_, _, err = device.Open(t.Context(), top, device.Options{Connections: 2})
			var named *device.NamedFileError
			if !errors.As(err, &named) || named.Image != top || named.What != what || filepath.Join(dir, named.File) != names[0] {
				t.Errorf("%v", err)
			}
			if others.opened() {
				t.Error("a file was opened that nobody asked for")
			}
			var told []string
			equals(t, top, want, device.Options{Connections: 2, Backing: true, Named: func(_, file string) { told = append(told, file) }})
			if !slices.Equal(told, names) {
				t.Errorf("%q was told, %q was to be opened", told, names)
			}
			if !others.opened() {
				t.Error("the watch sees nothing")
			}
		})
	}
}

// What a chain leads to must be a file whose format is sure, and there is an end to it.
func TestBackingRefused(t *testing.T) {
	_, raw, qcow2 := images(t)
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	image := func(backing, format string) string {
		path := filepath.Join(dir, fmt.Sprintf("%q", backing)[1:5]+format)
		qemu(t, dir, "qemu-img", "create", "-u", "-f", "qcow2", "-F", format, "-b", backing, path, "40M")
		return path
	}
	unnamed := filepath.Join(dir, "unnamed")
	qemu(t, dir, "qemu-img", "create", "-u", "-f", "qcow2", unnamed, "40M")
	header(t, unnamed, func(h []byte) { // as qemu-img made them before it asked for the format
		copy(h[1000:], qcow2)
		binary.BigEndian.PutUint64(h[8:], 1000)
		binary.BigEndian.PutUint32(h[16:], uint32(len(qcow2)))
	})
	circle := filepath.Join(dir, "circ")
	qemu(t, dir, "qemu-img", "create", "-u", "-f", "qcow2", "-F", "qcow2", "-b", "circ", circle, "40M")
	for path, says := range map[string]string{
		image("nbd://127.0.0.1/x", "raw"):                   `"nbd://127.0.0.1/x", which is no path`,
		image(`json:{"driver":"null-co"}`, "raw"):           "which is no path",
		image(pipe, "raw"):                                  "is no file",
		image("/dev/zero", "raw"):                           "is no file",
		image(filepath.Join(dir, "none"), "raw"):            "no such file",
		image(raw, "qcow2"):                                 `is an image of format "qcow2"`,
		image(filepath.Join(filepath.Dir(raw), "."), "qed"): "is no file",
		unnamed: "does not say which format",
		circle:  "stands on more than 15 images",
	} {
		_, _, err := device.Open(t.Context(), path, device.Options{Backing: true})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v; want %q", path, err, says)
		}
	}
	used := image(raw, "raw")
	socket := filepath.Join(t.TempDir(), "s")
	qemu(t, dir, "qemu-nbd", "--fork", "--persistent", "--pid-file="+socket+".pid", "--socket="+socket, "--format=raw", raw)
	stop(t, socket+".pid")
	_, _, err := device.Open(t.Context(), used, device.Options{Backing: true})
	var inUse *device.InUseError
	if !errors.As(err, &inUse) || inUse.Path != raw {
		t.Errorf("%v", err)
	}
}

// header changes the first KiB of an image.
func header(t testing.TB, path string, edit func(h []byte)) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := make([]byte, 4096)
	if _, err := io.ReadFull(f, h); err != nil {
		t.Fatal(err)
	}
	edit(h)
	if _, err := f.WriteAt(h, 0); err != nil {
		t.Fatal(err)
	}
}

// Headers that ask for more than there can be are refused before anything is allocated for them.
func TestHostileHeader(t *testing.T) {
	_, _, sound := images(t)
	u32, u64 := binary.BigEndian.PutUint32, binary.BigEndian.PutUint64
	for _, tt := range []struct {
		name, says string
		edit       func(h []byte)
	}{
		{"first table of 32 GiB", "more than the 33554432", func(h []byte) { u32(h[36:], 1<<32-1) }},
		{"first table that overflows", "more than the 33554432", func(h []byte) { u32(h[36:], 1<<29+1) }},
		{"first table of 32 MiB", "is not in the file", func(h []byte) { u32(h[36:], 1<<22) }},
		{"first table elsewhere", "is not in the file", func(h []byte) { u64(h[40:], 1<<63) }},
		{"first table of nothing", "no room", func(h []byte) { u32(h[36:], 0) }},
		{"disk of 2^64 bytes", "no room", func(h []byte) { u64(h[24:], 1<<64-512) }},
		{"disk of 2^62 bytes", "no room", func(h []byte) { u64(h[24:], 1<<62) }},
		{"clusters of 2^63 bytes", "clusters of 2^63", func(h []byte) { u32(h[20:], 63) }},
		{"clusters of 1 byte", "clusters of 2^0", func(h []byte) { u32(h[20:], 0) }},
		{"encrypted", "encrypted (method 1)", func(h []byte) { u32(h[32:], 1) }},
		{"unknown feature", "incompatible features 0x4000000000000000", func(h []byte) { u64(h[72:], 1<<62) }},
		{"unknown compression", "unsupported compression", func(h []byte) { h[79] |= 8; h[104] = 9 }},
		{"data file without a name", "does not name", func(h []byte) { h[79] |= 4 }},
		{"name elsewhere", "is not in the first cluster", func(h []byte) { u64(h[8:], 1<<64-1); u32(h[16:], 10) }},
		{"name of 4 GiB", "is not in the first cluster", func(h []byte) { u64(h[8:], 512); u32(h[16:], 1<<32-1) }},
		{"name with a zero byte", "zero byte", func(h []byte) { u64(h[8:], 512); u32(h[16:], 10); h[513] = 0 }},
		{"extension of 4 GiB", "beyond the first cluster", func(h []byte) { u32(h[112:], 1); u32(h[116:], 1<<32-1) }},
		{"header of 4 GiB", "a header of", func(h []byte) { u32(h[100:], 1<<32-8) }},
		{"version 4", "version 4", func(h []byte) { u32(h[4:], 4) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "i")
			qemu(t, "", "cp", sound, path)
			header(t, path, tt.edit)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, _, err := device.Open(t.Context(), path, device.Options{Backing: true})
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v; want %q", err, tt.says)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
				t.Errorf("%d bytes of memory", n)
			}
		})
	}
}

// A cut image is no disk of zeroes.
func TestCut(t *testing.T) {
	_, raw, _ := images(t)
	path := filepath.Join(t.TempDir(), "i")
	qemu(t, "", "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path)
	if err := os.Truncate(path, 1<<20); err != nil {
		t.Fatal(err)
	}
	d, closer, err := device.Open(t.Context(), path, device.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	if _, err := d.Data.ReadAt(make([]byte, 4096), 17<<20+512); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v", err)
	}
}

// FuzzQCOW2 changes bytes of a header and of the tables of a small image: it is refused or read, in bounded memory, and no
// other file is opened.
func FuzzQCOW2(f *testing.F) {
	dir := f.TempDir()
	for i, options := range []string{"cluster_size=512", "cluster_size=512,compression_type=zstd", "cluster_size=512,compat=0.10"} {
		path := filepath.Join(dir, fmt.Sprint(i))
		raw := filepath.Join(dir, "raw")
		if err := os.WriteFile(raw, bytes.Repeat([]byte("content "), 300), 0o600); err != nil {
			f.Fatal(err)
		}
		qemu(f, dir, "qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options, raw, path)
		image, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(image)
	}
	f.Fuzz(func(t *testing.T, image []byte) {
		// What QEMU has to read is its own.
		if len(image) > 80 && image[7] == 3 {
			image[79] &^= 4 | 16
		}
		path := filepath.Join(t.TempDir(), "i")
		if err := os.WriteFile(path, image, 0o600); err != nil {
			t.Fatal(err)
		}
		d, closer, err := device.Open(t.Context(), path, device.Options{})
		if err != nil {
			return
		}
		p := make([]byte, 3000)
		for _, at := range []int64{0, 1000, d.Size / 2, d.Size - 700} {
			n, err := d.Data.ReadAt(p, at)
			if n < len(p) && err == nil {
				t.Errorf("%d bytes at %d of %d without an error", n, at, d.Size)
			}
		}
		if err := closer.Close(); err != nil {
			t.Error(err)
		}
	})
}

// BenchmarkRead reads a qcow2 image of 1 GiB, in this process and through qemu-nbd.
func BenchmarkRead(b *testing.B) {
	dir := b.TempDir()
	raw := filepath.Join(dir, "raw")
	qemu(b, dir, "sh", "-c", "openssl enc -aes-128-ctr -nosalt -pass pass:x </dev/zero 2>/dev/null | head -c 1G >raw")
	for _, options := range []string{"cluster_size=64k", "extended_l2=on"} { // the library, and QEMU
		path := filepath.Join(dir, options)
		qemu(b, dir, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", options, raw, path)
		for _, size := range []int{4 << 10, 128 << 10} {
			b.Run(fmt.Sprintf("%s/%d", options, size), func(b *testing.B) {
				d, closer, err := device.Open(b.Context(), path, device.Options{Connections: 2})
				if err != nil {
					b.Fatal(err)
				}
				defer closer.Close()
				p := make([]byte, size)
				b.SetBytes(int64(size))
				at := int64(0)
				for b.Loop() {
					at = (at + 7919<<12) % (d.Size - int64(size))
					if _, err := d.Data.ReadAt(p, at); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
