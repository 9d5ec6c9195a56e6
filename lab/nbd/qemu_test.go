package nbd_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/vdevil/vdevil/lab/nbd"
)

const diskSize = 8 << 20

// recorder notes what requests came, and fails those that fail wants to.
type recorder struct {
	next nbd.Handler
	fail func(*nbd.Request) error

	mu   sync.Mutex
	seen []nbd.Request
}

func (r *recorder) Handle(ctx context.Context, q *nbd.Request) error {
	r.mu.Lock()
	noted := *q
	noted.Data = nil
	r.seen = append(r.seen, noted)
	fail := r.fail
	r.mu.Unlock()
	if fail != nil {
		if err := fail(q); err != nil {
			return err
		}
	}
	return r.next.Handle(ctx, q)
}

func (r *recorder) refuse(op nbd.Op, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = func(q *nbd.Request) error {
		if q.Op == op {
			return err
		}
		return nil
	}
}

func (r *recorder) count(op nbd.Op, fua bool) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, q := range r.seen {
		if q.Op == op && q.FUA == fua {
			n++
		}
	}
	return n
}

// serve serves a new file as disk v0.
func serve(t *testing.T) (*nbd.Server, *recorder, string) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "v0.raw")
	f, err := os.Create(path)
	if err == nil {
		err = f.Truncate(diskSize)
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := nbd.Listen(t.Context(), filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), f.Close()); err != nil {
			t.Error(err)
		}
	})
	r := &recorder{next: nbd.File{File: f}}
	if err := s.Export("v0", nbd.Export{Size: diskSize, Handler: r}); err != nil {
		t.Fatal(err)
	}
	return s, r, path
}

func uri(s *nbd.Server) string { return "nbd+unix:///v0?socket=" + s.Path() }

// qemuIO runs commands of qemu-io and gives what it prints.
func qemuIO(t *testing.T, s *nbd.Server, flags []string, commands ...string) (string, error) {
	t.Helper()
	args := slices.Concat(flags, []string{"-f", "raw", "-t", "writeback"})
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	out, err := exec.CommandContext(t.Context(), "qemu-io", append(args, uri(s))...).CombinedOutput()
	return string(out), err
}

func TestQEMUIO(t *testing.T) {
	s, r, path := serve(t)
	out, err := qemuIO(t, s, []string{"-d", "unmap"},
		"write -P 0xa5 4096 1M", "write -f -P 0x5a 2M 512", "read -P 0xa5 4096 1M", "read -P 0x5a 2M 512", "read -P 0 3M 1M",
		"write -z 8192 64k", "write -z -f 1M 4k", "discard 2M 4k", "aio_write -P 1 4M 64k", "aio_write -P 2 5M 64k", "aio_flush",
		"read -P 1 4M 64k", "read -P 2 5M 64k", "flush")
	if err != nil || strings.Contains(out, "fail") {
		t.Fatalf("%v\n%s", err, out)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, diskSize)
	fill := func(at, n int, b byte) { copy(want[at:], bytes.Repeat([]byte{b}, n)) }
	fill(4096, 1<<20, 0xa5)
	fill(2<<20, 512, 0x5a)
	fill(8192, 64<<10, 0)
	fill(1<<20, 4<<10, 0)
	fill(2<<20, 4<<10, 0)
	fill(4<<20, 64<<10, 1)
	fill(5<<20, 64<<10, 2)
	if !bytes.Equal(got, want) {
		t.Error("the file does not hold what was written")
	}
	for _, c := range []struct {
		op  nbd.Op
		fua bool
	}{{nbd.Write, true}, {nbd.Write, false}, {nbd.Zero, true}, {nbd.Zero, false}, {nbd.Trim, false}, {nbd.Flush, false}, {nbd.Read, false}} {
		if r.count(c.op, c.fua) == 0 {
			t.Errorf("no %v came, FUA %v: %+v", c.op, c.fua, r.seen)
		}
	}
}

func TestErrorsReachTheClient(t *testing.T) {
	s, r, _ := serve(t)
	for _, tt := range []struct {
		op      nbd.Op
		err     error
		command string
		want    string
	}{
		{nbd.Read, syscall.EIO, "read 0 4k", "Input/output error"},
		{nbd.Write, syscall.ENOSPC, "write 0 4k", "No space left on device"},
		{nbd.Flush, errors.New("any other"), "write 0 4k; flush", ""}, // it says so by its exit status only,
		{nbd.Write, syscall.EPERM, "write 0 4k", "Operation not permitted"},
	} {
		r.refuse(tt.op, tt.err)
		out, err := qemuIO(t, s, nil, strings.Split(tt.command, "; ")...)
		if err == nil || !strings.Contains(out, tt.want) {
			t.Errorf("%s: %s", tt.command, out)
		}
	}
}

func TestQEMUImgCopies(t *testing.T) {
	s, _, path := serve(t)
	from := filepath.Join(t.TempDir(), "from")
	data := make([]byte, diskSize)
	for i := range data {
		data[i] = byte(i >> 9 * 7)
	}
	clear(data[1<<20 : 3<<20])
	if err := os.WriteFile(from, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"convert", "-n", "-f", "raw", "-O", "raw", from, uri(s)},
		{"compare", "-f", "raw", "-F", "raw", from, uri(s)},
	} {
		if out, err := exec.CommandContext(t.Context(), "qemu-img", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the copy differs, %v", err)
	}
}

func TestList(t *testing.T) {
	s, r, _ := serve(t)
	if err := s.Export("another", nbd.Export{Size: 1 << 20, Handler: r}); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "qemu-nbd", "--list", "--socket", s.Path()).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"exports available: 2", "'another'", "'v0'", "size:  8388608", "flush fua trim zeroes", "max block: 33554432"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestUnknownExport(t *testing.T) {
	s, _, _ := serve(t)
	out, err := exec.CommandContext(t.Context(), "qemu-io", "-f", "raw", "-c", "read 0 512", "nbd+unix:///v9?socket="+s.Path()).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "there is no export v9") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestLeaveAndReturn(t *testing.T) {
	s, _, _ := serve(t)
	if err := s.Leave("v0"); err != nil {
		t.Fatal(err)
	}
	if out, err := qemuIO(t, s, nil, "read 0 512"); err == nil {
		t.Errorf("an export that is away was read: %s", out)
	}
	if err := s.Return("v0"); err != nil {
		t.Fatal(err)
	}
	if out, err := qemuIO(t, s, nil, "read 0 512"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestExportRefuses(t *testing.T) {
	s, r, _ := serve(t)
	for _, size := range []int64{0, 100, diskSize / 2} {
		if err := s.Export("v0", nbd.Export{Size: size, Handler: r}); err == nil {
			t.Errorf("a disk of %d bytes was taken", size)
		}
	}
}

// A client of the simple kind, which asks for no structured replies and by the old name option.
func TestOldClient(t *testing.T) {
	s, r, path := serve(t)
	if err := os.WriteFile(path, bytes.Repeat([]byte{7}, diskSize), 0o600); err != nil {
		t.Fatal(err)
	}
	c := dial(t, s)
	c.expect(18)
	c.send(u32(3), u64(0x49484156454f5054), u32(1), u32(2), []byte("v0"))
	if got := c.expect(10); !bytes.Equal(got[:8], u64(diskSize)) {
		t.Errorf("size % x", got)
	}
	c.send(request(0, 1, 4096, 16))
	if got := c.expect(32); !bytes.Equal(got, slices.Concat(u32(0x67446698), u32(0), u64(1), bytes.Repeat([]byte{7}, 16))) {
		t.Errorf("reply % x", got)
	}
	for name, q := range map[string][]byte{
		"beyond the end": request(0, 2, diskSize-1, 2), "at no place": request(0, 2, 1<<63, 2), "no command": request(77, 2, 0, 0),
	} {
		c.send(q)
		if got := c.expect(16); !bytes.Equal(got, slices.Concat(u32(0x67446698), u32(uint32(syscall.EINVAL)), u64(2))) {
			t.Errorf("%s: reply % x", name, got)
		}
	}
	if n := r.count(nbd.Read, false); n != 1 {
		t.Errorf("%d reads came through", n)
	}
	c.send(request(0, 3, 0, 1<<30))
	c.end()
}

func TestHostileClients(t *testing.T) {
	s, _, _ := serve(t)
	flags, option := u32(3), func(n uint32, length uint32) []byte {
		return slices.Concat(u64(0x49484156454f5054), u32(n), u32(length))
	}
	for name, say := range map[string][]byte{
		"nothing":            nil,
		"flags of no client": u32(0xffffffff),
		"no option":          slices.Concat(flags, bytes.Repeat([]byte{9}, 64)),
		"a huge name":        slices.Concat(flags, option(1, 1<<31)),
		"a huge option":      slices.Concat(flags, option(6, 1<<31)),
		"half an option":     slices.Concat(flags, option(7, 100), []byte("abc")),
		"a bad length":       slices.Concat(flags, option(7, 6), u32(1<<31), []byte{0, 0}, option(2, 0)),
		"endless options":    slices.Concat(flags, bytes.Repeat(option(99, 0), 100)),
		"no request":         slices.Concat(flags, option(1, 2), []byte("v0"), bytes.Repeat([]byte{1}, 28)),
		"half a write":       slices.Concat(flags, option(1, 2), []byte("v0"), request(1, 1, 0, 4096), []byte("abc")),
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, s)
			c.say(say)
			c.end()
		})
	}
	if out, err := qemuIO(t, s, nil, "read 0 512"); err != nil {
		t.Errorf("the server is gone: %v\n%s", err, out)
	}
}
