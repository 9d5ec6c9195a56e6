package device

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
	"github.com/lima-vm/go-qcow2reader/image/qcow2"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// openQCOW2 opens a qcow2 image. What the library can read it reads in this process; what it cannot, QEMU reads, in a
// process that can open nothing.
func openQCOW2(ctx context.Context, path string, file *os.File, o Options) (ondisk.Device, io.Closer, error) {
	c, err := openChain(path, file, o)
	if err != nil {
		return ondisk.Device{}, nil, err
	}
	var data io.ReaderAt
	closer := io.Closer(c)
	if c.foreign() {
		server, e := serveChain(ctx, c, o)
		if server != nil {
			data, closer = server, server
		}
		err = e
	} else {
		data, err = newImages(c)
	}
	if err != nil {
		return ondisk.Device{}, nil, errors.Join(fmt.Errorf("read %s: %w", path, err), closer.Close())
	}
	d := ondisk.Device{Name: path, Data: data, Size: c[0].header.size}
	for _, l := range c {
		d.Filled += ondisk.FilledOf(l.file)
		if l.data != nil {
			d.Filled += ondisk.FilledOf(l.data)
		}
	}
	return d, closer, nil
}

// foreign says that the library cannot read an image of the chain.
func (c chain) foreign() bool {
	for _, l := range c {
		if l.header.features&(featureExtendedL2|featureData) != 0 {
			return true
		}
	}
	return false
}

// images is a chain that is read by the library. Of each image it has the first table, at most 32 MiB, and 16 of the
// second ones, each of which is as long as a cluster, in memory.
type images struct {
	size   int64
	layers []imageLayer
}

type imageLayer struct {
	io.ReaderAt
	size  int64        // of the disk
	qcow2 *qcow2.Qcow2 // nil if it is raw
}

func newImages(c chain) (*images, error) {
	useDecompressors()
	all := &images{size: c[0].header.size}
	for _, l := range c {
		if !l.qcow2 {
			all.layers = append(all.layers, imageLayer{ReaderAt: l.file, size: l.size})
			continue
		}
		if l.header.size == 0 {
			all.layers = append(all.layers, imageLayer{})
			continue
		}
		// The library sees a header that names no file, since it would open what it names without asking.
		image, err := qcow2.Open(&view{layer: l, head: l.header.plain()}, nil)
		if err == nil {
			err = image.Readable()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.path, err)
		}
		all.layers = append(all.layers, imageLayer{image, l.header.size, image})
	}
	return all, nil
}

// ReadAt reads from the disk. It may be called by several goroutines.
func (m *images) ReadAt(p []byte, at int64) (n int, err error) {
	if at < 0 || at > m.size {
		return 0, fmt.Errorf("offset %d of %d bytes", at, m.size)
	}
	short := int64(len(p)) > m.size-at
	if short {
		p = p[:m.size-at]
	}
	if err := m.read(0, p, at); err != nil {
		return 0, err
	}
	if short {
		return len(p), io.EOF
	}
	return len(p), nil
}

// read fills p from a layer and what is below it.
func (m *images) read(layer int, p []byte, at int64) error {
	if layer == len(m.layers) {
		clear(p)
		return nil
	}
	l := m.layers[layer]
	if inside := max(min(int64(len(p)), l.size-at), 0); inside < int64(len(p)) { // it may be shorter than what stands on it
		clear(p[inside:])
		p = p[:inside]
	}
	if l.qcow2 == nil || layer == len(m.layers)-1 {
		return full(l, p, at)
	}
	cluster := int64(1) << l.qcow2.ClusterBits
	for len(p) > 0 {
		start := at &^ (cluster - 1)
		part := p[:min(int64(len(p)), start+cluster-at)]
		extent, err := l.qcow2.Extent(start, min(cluster, l.size-start))
		switch {
		case err != nil:
		case extent.Allocated:
			err = full(l, part, at)
		default:
			err = m.read(layer+1, part, at)
		}
		if err != nil {
			return err
		}
		p, at = p[len(part):], at+int64(len(part))
	}
	return nil
}

func full(r io.ReaderAt, p []byte, at int64) error {
	if len(p) == 0 {
		return nil
	}
	n, err := r.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%d bytes at %d: %w", len(p), at, err)
}

// view is an image's file with another header. A cluster that the file ends in reads as zeroes behind the end, as QEMU has
// it; what lies farther does not exist.
type view struct {
	*layer
	head []byte
}

// ReadAt reads from the file. It may be called by several goroutines.
func (v *view) ReadAt(p []byte, at int64) (n int, err error) {
	if at < 0 {
		return 0, fmt.Errorf("offset %d", uint64(at))
	}
	if at < int64(len(v.head)) {
		if n = copy(p, v.head[at:]); n == len(p) {
			return n, nil
		}
	}
	more, err := v.file.ReadAt(p[n:], at+int64(n))
	n += more
	cluster := int64(v.header.cluster())
	if end := (v.size + cluster - 1) &^ (cluster - 1); errors.Is(err, io.EOF) && at+int64(n) < end {
		rest := p[n:]
		rest = rest[:min(int64(len(rest)), end-at-int64(n))]
		clear(rest)
		if n += len(rest); n == len(p) {
			err = nil
		}
	}
	return n, err
}

// useDecompressors tells the library, which has one table of them in a process, of decompressors that fill what they are
// asked for; it takes a short read for the end. They keep nothing of what they have read but what the format looks back
// to, at most 8 MiB.
var useDecompressors = sync.OnceFunc(func() {
	deflate := &sync.Pool{New: func() any { return &inflater{flate.NewReader(nil)} }}
	qcow2.SetDecompressor(qcow2.CompressionTypeZlib, func(r io.Reader) (io.ReadCloser, error) {
		d := deflate.Get().(*inflater)
		return &pooled{d, deflate}, d.Reset(r)
	})
	zstandard := &sync.Pool{New: func() any {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return err // only options that do not exist are refused
		}
		return d
	}}
	qcow2.SetDecompressor(qcow2.CompressionTypeZstd, func(r io.Reader) (io.ReadCloser, error) {
		switch d := zstandard.Get().(type) {
		case *zstd.Decoder:
			return &pooled{d, zstandard}, d.Reset(r)
		case error:
			return nil, d
		}
		return nil, errors.ErrUnsupported
	})
})

// inflater is a decompressor of deflate.
type inflater struct{ io.ReadCloser }

// Reset lets it begin anew.
func (i *inflater) Reset(r io.Reader) error { return i.ReadCloser.(flate.Resetter).Reset(r, nil) }

// pooled is a decompressor that goes back where it came from.
type pooled struct {
	io.Reader
	pool *sync.Pool
}

func (p *pooled) Read(b []byte) (int, error) {
	n, err := io.ReadFull(p.Reader, b)
	if n > 0 {
		err = nil
	}
	return n, err
}

func (p *pooled) Close() error {
	p.pool.Put(p.Reader)
	return nil
}
