package checkpoint

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/guest/guesttest"
	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/scripttest"
)

// TestKernelsWaitForNobody opens the kernel of a fork while another fork of the same checkpoint hangs.
func TestKernelsWaitForNobody(t *testing.T) {
	k := &Kernels{types: map[string]*kernel.Types{"image": {}}}
	cp := &machine.Checkpoint{Dir: t.TempDir(), Scale: 1}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	open := func(ctx context.Context, symbols string) error {
		s, m := guesttest.New(t), scripttest.New(t)
		m.OnDial = func(ctx context.Context, _ int) (net.Conn, error) { return s.Dial(ctx) }
		s.Program("grep", symbols) // by which it is asked for its symbols
		img := &images.Image{ID: "image", LoginKey: s.Login, HostKey: s.Host}
		g, err := guest.Connect(t.Context(), m, Keys(img))
		if err != nil {
			return err
		}
		defer g.Close()
		_, err = k.Open(ctx, img, cp, m, g)
		return err
	}
	ctx, cancel := context.WithCancel(t.Context())
	hangs := make(chan error)
	go func() { hangs <- open(ctx, "echo here >"+fifo+"; sleep infinity") }()
	if _, err := os.ReadFile(fifo); err != nil { // to its end: a writer without a reader is killed
		t.Fatal(err)
	}
	if err := open(t.Context(), "echo as the other says >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "as the other says") {
		t.Errorf("the other fork was told %v", err)
	}
	cancel()
	if err := <-hangs; err == nil {
		t.Error("a fork that hangs was opened")
	}
}
