package images

import (
	"archive/tar"
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
)

// writeRootFS packs the lab's own files of the guest's file system: those under build/rootfs, and the keys.
func writeRootFS(name string, k keys) (err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // it holds the guests' private key
	if err != nil {
		return err
	}
	w := tar.NewWriter(f)
	defer func() { err = errors.Join(err, w.Close(), f.Close()) }()
	put := func(name string, mode int64, text []byte) error {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(text))}); err != nil {
			return err
		}
		_, err := w.Write(text)
		return err
	}
	// Directories that the packages bring are not ours to describe.
	for _, d := range []tar.Header{{Name: "usr/lib/vdevil/", Mode: 0o755}, {Name: "root/.ssh/", Mode: 0o700}} {
		d.Typeflag = tar.TypeDir
		if err := w.WriteHeader(&d); err != nil {
			return err
		}
	}
	const root = "build/rootfs"
	err = fs.WalkDir(builderFiles, root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := builderFiles.ReadFile(name)
		if err != nil {
			return err
		}
		mode := int64(0o644)
		if path.Dir(name) == root+"/usr/lib/vdevil" {
			mode = 0o755 // all there are scripts
		}
		return put(strings.TrimPrefix(name, root+"/"), mode, text)
	})
	return errors.Join(err,
		put("root/.ssh/authorized_keys", 0o600, k.login.Public),
		put("etc/ssh/ssh_host_ed25519_key", 0o600, k.host.Private),
		put("etc/ssh/ssh_host_ed25519_key.pub", 0o644, k.host.Public))
}
