package device

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// openQCOW2 has qemu-nbd serve an image on a UNIX socket. The server ends when the last connection does, and so with this
// process.
func openQCOW2(ctx context.Context, path string, o Options) (ondisk.Device, io.Closer, error) {
	const program = "qemu-nbd"
	if _, err := exec.LookPath(program); err != nil {
		return ondisk.Device{}, nil, fmt.Errorf("%s is a qcow2 image, which %s of Debian's qemu-utils reads: %w", path, program, err)
	}
	dir, err := os.MkdirTemp("", "vd") // short: the path of a socket has 107 bytes at most
	if err != nil {
		return ondisk.Device{}, nil, err
	}
	d, c, err := serve(ctx, program, path, filepath.Join(dir, "s"), o)
	// The name of the socket is not needed once all connections are there.
	if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
		if c != nil {
			err = errors.Join(err, c.Close())
		}
		return ondisk.Device{}, nil, err
	}
	return d, c, nil
}

func serve(ctx context.Context, program, path, socket string, o Options) (ondisk.Device, io.Closer, error) {
	n := max(o.Connections, 1)
	absolute, err := filepath.Abs(path)
	if err != nil {
		return ondisk.Device{}, nil, err
	}
	// A comma in an option's value is written twice.
	image := "driver=qcow2,file.driver=file,file.filename=" + strings.ReplaceAll(absolute, ",", ",,")
	if o.Live {
		image += ",force-share=on"
	}
	// With --fork it returns when the server listens.
	cmd := exec.CommandContext(ctx, program, "--fork", "--read-only", "--socket="+socket, fmt.Sprintf("--shared=%d", n), "--image-opts", image)
	out, err := os.CreateTemp(filepath.Dir(socket), "out") // no pipe, which the server would keep open
	if err != nil {
		return ondisk.Device{}, nil, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(out.Name()) // what is said without it is enough
		if bytes.Contains(text, []byte("lock")) {
			return ondisk.Device{}, nil, &InUseError{path, string(bytes.TrimSpace(text))}
		}
		return ondisk.Device{}, nil, fmt.Errorf("%s %s: %w: %s", program, path, err, bytes.TrimSpace(text))
	}
	c, err := connect(ctx, socket, n)
	if err != nil {
		return ondisk.Device{}, nil, fmt.Errorf("read %s through %s: %w", path, program, err)
	}
	return ondisk.Device{Name: path, Data: c, Size: c.size}, c, nil
}
