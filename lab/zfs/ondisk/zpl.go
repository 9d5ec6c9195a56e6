package ondisk

import (
	"context"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/vdevil/vdevil/lab/printable"
)

// FileSystem is an object set seen as files (the ZPL, module/os/linux/zfs/zfs_znode_os.c).
type FileSystem struct {
	Set *ObjSet
	// Root is the object of the root directory.
	Root uint64

	sa *saTable // nil in old file systems, whose attributes have one form
}

// FileSystem opens the object set as a file system. An encrypted one gives ErrEncrypted.
func (o *ObjSet) FileSystem(ctx context.Context) (*FileSystem, error) {
	if o.Type != ObjSetZFS {
		return nil, fmt.Errorf("object set %d of kind %d is no file system", o.ID, o.Type)
	}
	const master = 1 // MASTER_NODE_OBJ
	z, err := o.ZAP(ctx, master)
	if err != nil {
		return nil, err
	}
	root, err := z.Lookup(ctx, "ROOT")
	if err != nil {
		return nil, err
	}
	fs := &FileSystem{Set: o, Root: root.Uint64()}
	sa, err := z.Lookup(ctx, "SA_ATTRS")
	if isNotFound(err) {
		return fs, nil
	}
	if err != nil {
		return nil, err
	}
	fs.sa, err = loadSA(ctx, o, sa.Uint64())
	return fs, err
}

// Words of znode_phys_t, the attributes of old file systems (include/sys/zfs_znode.h).
const (
	znodeSize   = 10
	znodeParent = 11
)

func (fs *FileSystem) number(ctx context.Context, o *Object, name string, word int) (uint64, error) {
	if o.BonusType == TypeZNode {
		if w := o.bonusWords(); len(w) > word {
			return w[word], nil
		}
		return 0, fmt.Errorf("%v: %w", o, corrupt("a bonus of %d bytes", len(o.Bonus)))
	}
	if o.BonusType != TypeSA || fs.sa == nil {
		return 0, fmt.Errorf("%v: %w", o, corrupt("a bonus of type %d", o.BonusType))
	}
	return fs.sa.number(ctx, o, name)
}

// Size is the size of a file or directory.
func (fs *FileSystem) Size(ctx context.Context, o *Object) (uint64, error) {
	return fs.number(ctx, o, "ZPL_SIZE", znodeSize)
}

// Parent is the directory that an object was last linked into.
func (fs *FileSystem) Parent(ctx context.Context, o *Object) (uint64, error) {
	return fs.number(ctx, o, "ZPL_PARENT", znodeParent)
}

// Kinds of directory entries, as readdir(3) has them.
const (
	KindDirectory = 4
	KindFile      = 8
	KindLink      = 10
)

// DirEntry is an entry of a directory.
type DirEntry struct {
	Name   string
	Object uint64
	Kind   uint8
}

func dirEntry(e *ZAPEntry) DirEntry {
	v := e.Uint64()
	return DirEntry{Name: e.Name, Object: bits(v, 0, 48), Kind: uint8(bits(v, 60, 4))}
}

// ReadDir calls do for every entry of a directory, in no particular order, until it returns an error.
func (fs *FileSystem) ReadDir(ctx context.Context, dir uint64, do func(DirEntry) error) error {
	z, err := fs.Set.ZAP(ctx, dir)
	if err != nil {
		return err
	}
	for e, err := range z.All(ctx) {
		if err != nil {
			return err
		}
		if err := do(dirEntry(&e)); err != nil {
			return err
		}
	}
	return nil
}

// maxPath is how many directories deep a path may be.
const maxPath = 1024

// Path is a path of an object from the root, found through its parents. A file with several links has one of them; one
// that was deleted while open has none, which is ErrNotFound. The path is for messages: its names are made printable.
func (fs *FileSystem) Path(ctx context.Context, id uint64) (string, error) {
	var names []string
	for id != fs.Root {
		if len(names) >= maxPath {
			return "", corrupt("directories that contain each other, at object %d", id)
		}
		o, err := fs.Set.Object(ctx, id)
		if err != nil {
			return "", err
		}
		parent, err := fs.Parent(ctx, o)
		if err != nil {
			return "", err
		}
		name, err := fs.nameIn(ctx, parent, id)
		if err != nil {
			return "", err
		}
		names = append(names, printable.Line(name))
		id = parent
	}
	var b strings.Builder
	for i := len(names) - 1; i >= 0; i-- {
		b.WriteString("/" + names[i])
	}
	return path.Clean("/" + b.String()), nil
}

func (fs *FileSystem) nameIn(ctx context.Context, dir, id uint64) (string, error) {
	z, err := fs.Set.ZAP(ctx, dir)
	if err != nil {
		return "", err
	}
	for e, err := range z.All(ctx) {
		if err != nil {
			return "", err
		}
		if d := dirEntry(&e); d.Object == id {
			return d.Name, nil
		}
	}
	return "", fmt.Errorf("object %d in directory %d: %w", id, dir, ErrNotFound)
}

// CopyFile writes the content of a file to w.
func (fs *FileSystem) CopyFile(ctx context.Context, w io.Writer, id uint64) error {
	o, err := fs.Set.Object(ctx, id)
	if err != nil {
		return err
	}
	size, err := fs.Size(ctx, o)
	if err != nil {
		return err
	}
	return o.Copy(ctx, w, size)
}

// Copy writes the first n bytes of the object to w; what lies beyond its last block is zeroes.
func (o *Object) Copy(ctx context.Context, w io.Writer, n uint64) error {
	size := uint64(o.DataBlockSize)
	for at := uint64(0); at < n; at += size {
		block, err := o.Block(ctx, at/size)
		if err != nil {
			return fmt.Errorf("read %v at %d: %w", o, at, err)
		}
		if _, err := w.Write(block.Data[:min(size, n-at)]); err != nil {
			return err
		}
	}
	return ctx.Err()
}
