package device

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// NamedFileError says that an image names another file, which is not opened unless Options.Backing asks for it: whoever
// made the image could have named any file of this computer, and its content would come out in what is said of the image.
type NamedFileError struct {
	Image, File string
	// What is "backing file" or "data file".
	What string
}

func (e *NamedFileError) Error() string {
	return fmt.Sprintf("%s names the %s %q, which was not opened, since whoever made an image can name any file in it", e.Image, e.What, e.File)
}

// layer is an image of a chain, above its backing file.
type layer struct {
	path   string
	file   *os.File
	size   int64 // of the file
	qcow2  bool
	header qcow2Header
	data   *os.File // where its clusters are, if not in file
}

// maxLayers bounds a chain, and so what its tables take in memory.
const maxLayers = 16

// chain is an image and what it stands on, the image itself first.
type chain []*layer

func (c chain) Close() error {
	var all []error
	for _, l := range c {
		all = append(all, l.file.Close())
		if l.data != nil {
			all = append(all, l.data.Close())
		}
	}
	return errors.Join(all...)
}

// openChain reads the headers of an image and of its backing files. It owns the file from now on.
func openChain(path string, file *os.File, o Options) (c chain, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	c = chain{{path: path, file: file, qcow2: true}}
	for last := c[0]; ; last = c[len(c)-1] {
		info, err := last.file.Stat()
		if err != nil {
			return c, err
		}
		last.size = info.Size()
		if !last.qcow2 {
			return c, nil
		}
		if last.header, err = parseQCOW2(last.file, last.size); err != nil {
			return c, fmt.Errorf("%s is a qcow2 image that cannot be read: %w", last.path, err)
		}
		if err := last.openData(o); err != nil {
			return c, err
		}
		if last.header.backing == "" {
			return c, nil
		}
		if len(c) == maxLayers {
			return c, fmt.Errorf("%s stands on more than %d images, or on itself", path, maxLayers-1)
		}
		next, err := last.openBacking(o)
		if err != nil {
			return c, err
		}
		c = append(c, next)
	}
}

func (l *layer) openData(o Options) (err error) {
	if l.header.features&featureData == 0 {
		return nil
	}
	if l.header.data == "" {
		return fmt.Errorf("%s has its clusters in a file that it does not name; make an image of its own of it with qemu-img convert", l.path)
	}
	l.data, _, err = l.open("data file", l.header.data, o)
	return err
}

func (l *layer) openBacking(o Options) (*layer, error) {
	file, path, err := l.open("backing file", l.header.backing, o)
	if err != nil {
		return nil, err
	}
	head := make([]byte, len(qcow2Magic))
	n, err := file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(err, file.Close())
	}
	magic := string(head[:n]) == qcow2Magic
	switch {
	case l.header.format == "qcow2" && magic, l.header.format == "raw", l.header.format == "" && !magic:
		return &layer{path: path, file: file, qcow2: l.header.format == "qcow2"}, nil
	case l.header.format == "":
		// A guest can write to a raw image what looks like qcow2 and names any file.
		err = fmt.Errorf("%s does not say which format %s has, which looks like qcow2; say it with qemu-img rebase -u -F qcow2 -b", l.path, path)
	default:
		err = fmt.Errorf("%s says that %s is an image of format %q; raw and qcow2 can be read", l.path, path, l.header.format)
	}
	return nil, errors.Join(err, file.Close())
}

// open opens a file that an image names, relative to the image.
func (l *layer) open(what, name string, o Options) (*os.File, string, error) {
	if !o.Backing {
		return nil, "", &NamedFileError{Image: l.path, What: what, File: name}
	}
	// What has a colon before a slash is to QEMU the name of a protocol, such as nbd: or json: (path_has_protocol).
	if before, _, ok := strings.Cut(name, ":"); ok && !strings.Contains(before, "/") {
		return nil, "", fmt.Errorf("%s names the %s %q, which is no path of a file", l.path, what, name)
	}
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(l.path), path)
	}
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a named pipe would wait for its writer
	if err != nil {
		return nil, "", fmt.Errorf("%s of %s: %w", what, l.path, err)
	}
	if o.Named != nil {
		o.Named(l.path, path)
	}
	info, err := file.Stat()
	if err == nil && info.Mode()&fs.ModeType != 0 {
		err = fmt.Errorf("%s of %s: %s is no file", what, l.path, path)
	}
	if err == nil && !o.Live {
		err = written(path, file)
	}
	if err != nil {
		return nil, "", errors.Join(err, file.Close())
	}
	return file, path, nil
}
