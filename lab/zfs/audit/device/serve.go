package device

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/vdevil/vdevil/lab/nbd"
)

// nobody is the user, and the group, of those who may do nothing (Debian's base-passwd).
const nobody = 65534

// serveChain has qemu-nbd read a chain. It opens no file: what it reads of the images this process serves, and who it is
// told to be, if this process is root, could not open any. It ends when the last connection to it does, and so with this
// process.
func serveChain(ctx context.Context, c chain, o Options) (_ *served, err error) {
	const program = "qemu-nbd"
	if _, err := exec.LookPath(program); err != nil {
		return nil, fmt.Errorf("clusters in parts or in a file of their own are read by %s of Debian's qemu-utils: %w", program, err)
	}
	dir, err := os.MkdirTemp("", "vd") // short: the path of a socket has 107 bytes at most
	if err != nil {
		return nil, err
	}
	// The names of the sockets are not needed once all connections are there.
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	files, err := nbd.Listen(ctx, filepath.Join(dir, "f"))
	if err != nil {
		return nil, err
	}
	closing := closers{files, c}
	image, err := c.export(files)
	if err != nil {
		return nil, errors.Join(err, files.Close())
	}
	n := max(o.Connections, 1)
	// With --fork it returns when the server listens.
	cmd := exec.CommandContext(ctx, program, "--fork", "--read-only", "--socket="+filepath.Join(dir, "s"), fmt.Sprintf("--shared=%d", n), "json:"+image)
	out, err := os.CreateTemp(dir, "out") // no pipe, which the server would keep open
	if err != nil {
		return nil, errors.Join(err, files.Close())
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		if err := errors.Join(os.Chown(dir, nobody, nobody), os.Chown(files.Path(), nobody, nobody)); err != nil {
			return nil, errors.Join(err, files.Close())
		}
	}
	if err := cmd.Run(); err != nil {
		text := make([]byte, 1<<12)
		n, _ := out.ReadAt(text, 0) // what is said without it is enough
		return nil, errors.Join(fmt.Errorf("%s: %w: %s", program, err, bytes.TrimSpace(text[:n])), files.Close())
	}
	client, err := nbd.Connect(ctx, filepath.Join(dir, "s"), n)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ask %s: %w", program, err), files.Close())
	}
	return &served{client, closing}, nil
}

// served is an image that qemu-nbd reads.
type served struct {
	*nbd.Client
	from closers // what qemu-nbd itself reads from
}

// Close ends all connections, and with them qemu-nbd.
func (s *served) Close() error { return errors.Join(s.Client.Close(), s.from.Close()) }

// closers are closed one after the other.
type closers []io.Closer

func (c closers) Close() error {
	all := make([]error, len(c))
	for i, one := range c {
		all[i] = one.Close()
	}
	return errors.Join(all...)
}

// export serves the files of a chain, and is the block device that QEMU is to make of them, in JSON. All that it could find
// by itself in the images is said in it.
func (c chain) export(s *nbd.Server) (string, error) {
	var below any // no backing file: null
	for i := len(c) - 1; i >= 0; i-- {
		l := c[i]
		file, err := export(s, strconv.Itoa(i), l.file, l.qcow2)
		if err != nil {
			return "", err
		}
		if !l.qcow2 {
			below = map[string]any{"driver": "raw", "file": file}
			continue
		}
		image := map[string]any{"driver": "qcow2", "file": file, "backing": below}
		if l.data != nil {
			if image["data-file"], err = export(s, strconv.Itoa(i)+"-data", l.data, false); err != nil {
				return "", err
			}
		}
		below = image
	}
	text, err := json.Marshal(below)
	return string(text), err
}

// export serves a file; of a qcow2 image without the name of a backing file, which QEMU would make a path of, whatever it
// is told to take.
func export(s *nbd.Server, name string, f *os.File, qcow2 bool) (map[string]any, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	const sector = 512
	err = s.Export(name, nbd.Export{
		Size: max(sector, (info.Size()+sector-1)&^(sector-1)),
		Handler: nbd.HandlerFunc(func(_ context.Context, r *nbd.Request) error {
			switch r.Op {
			case nbd.Read:
			case nbd.Flush:
				return nil
			default:
				return syscall.EPERM
			}
			n, err := f.ReadAt(r.Data, r.Offset)
			if errors.Is(err, io.EOF) {
				clear(r.Data[n:])
				err = nil
			}
			if qcow2 {
				const from, to = 8, 20 // backing_file_offset and backing_file_size
				clear(r.Data[min(max(from-r.Offset, 0), r.Length):min(max(to-r.Offset, 0), r.Length)])
			}
			return err
		}),
	})
	return map[string]any{"driver": "nbd", "server": map[string]any{"type": "unix", "path": s.Path()}, "export": name}, err
}
