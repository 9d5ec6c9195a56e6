// Package ondisktest makes pools for tests, in guests with real OpenZFS, and caches them.
package ondisktest

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/checkpoint"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/host/hosttest"
	"github.com/vdevil/vdevil/lab/labtest"
	"github.com/vdevil/vdevil/lab/machine"
)

// buildLimit is what one script gets on the reference host.
const buildLimit = 90 * time.Second

// Dir is the directory that a script made with an OpenZFS version ("" is the default one): made once and cached by
// content, by whichever test comes first. It has the vdevs as files, and beside them what zdb and sha256sum say.
func Dir(t testing.TB, version, name string) string {
	t.Helper()
	script := source(t, "common") + source(t, name)
	sum := sha256.Sum256([]byte(script))
	label := version
	if label == "" {
		label = "default"
	}
	return cached(t, fmt.Sprintf("%s-%s-%s", label, name, hex.EncodeToString(sum[:6])), func(part, _ string) { buildPools(t, version, script, part) })
}

// cached is a directory of a name that is made once, by whichever test comes first. It is made under another name than it has in the end.
func cached(t testing.TB, name string, make func(part, dir string)) (dir string) {
	t.Helper()
	cache := lab.PoolsDir(hosttest.Dirs(t))
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(cache, name)
	now := time.Now()
	if os.Chtimes(dir, now, now) == nil { // by which gc knows that it is in use
		return dir
	}
	unlock, err := host.Lock(t.Context(), dir+".lock", func(h host.Holder) { t.Logf("wait for %s, who makes %s", h, dir) })
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if exists(dir) {
		return dir
	}
	part := dir + ".part"
	if err := os.RemoveAll(part); err != nil {
		t.Fatal(err)
	}
	make(part, dir)
	if err := os.Rename(part, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// source is a script in the directory of the reader's tests, from wherever in the module the test runs.
func source(t testing.TB, name string) string {
	t.Helper()
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for !exists(filepath.Join(root, "go.mod")) {
		if up := filepath.Dir(root); up != root {
			root = up
			continue
		}
		t.Fatal("the test does not run in the module")
	}
	text, err := os.ReadFile(filepath.Join(root, "lab", "zfs", "ondisk", "testdata", "pools", name+".sh"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// buildPools runs a script in a fork of a booted guest and takes the directory out of it, as a tar archive that the
// guest writes to a data disk.
func buildPools(t testing.TB, version, script, dir string) {
	t.Helper()
	l := labtest.Open(t)
	img, err := l.Image(t.Context(), version)
	if err != nil {
		t.Fatal(err)
	}
	cp, err := l.Checkpoints().Booted(t.Context(), img, labtest.Machine())
	if err != nil {
		t.Fatal(err)
	}
	m, g, err := checkpoint.Enter(t.Context(), l.Driver(), img, cp)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}()
	defer g.Close()
	start := time.Now()
	runScript(t, g, m, cp.Scale, script)
	t.Logf("made %s in %v", dir, time.Since(start).Round(time.Second))
	f, err := os.Open(m.Disks()[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := untar(f, dir); err != nil {
		t.Fatal(err)
	}
	if err := reports(t.Context(), NewUserland(t, version), dir); err != nil {
		t.Fatal(err)
	}
}

// reports makes those of zdb that a script has asked for: of each line a file, and beside it what zdb complained of.
func reports(ctx context.Context, user Userland, dir string) error {
	list, err := os.ReadFile(filepath.Join(dir, "reports"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(list)) {
		var name, pool, option string
		if _, err := fmt.Sscan(line, &name, &pool, &option); err != nil {
			return fmt.Errorf("report %q: %w", line, err)
		}
		var out, complaints bytes.Buffer
		cmd := user.Command(ctx, "zdb", "-e", "-p", dir, option, pool)
		cmd.Stdout, cmd.Stderr = &out, &complaints
		if err := cmd.Run(); errors.As(err, new(*exec.ExitError)) {
			fmt.Fprintln(&complaints, err) // it ends so when it finds a leak
		} else if err != nil {
			return err
		}
		for suffix, text := range map[string][]byte{"": out.Bytes(), ".err": complaints.Bytes()} {
			if err := os.WriteFile(filepath.Join(dir, name+suffix), text, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

func runScript(t testing.TB, g *guest.Guest, m machine.Machine, scale machine.Scale, script string) {
	t.Helper()
	const hand = "\ncd /var/tmp && tar -S -cf - p | dd of=/dev/disk/by-id/virtio-v0 bs=1M conv=fsync status=none\n"
	ctx, cancel := context.WithTimeout(t.Context(), scale.Limit(buildLimit))
	defer cancel()
	out, err := g.RunScript(ctx, script+hand)
	if err != nil {
		t.Fatalf("%v\n%s\n%s\n%s", err, out.Stdout, out.Stderr, m.Console().Tail(2048))
	}
	t.Logf("%s%s", out.Stdout, out.Stderr)
}

// untar writes the files of an archive, holes where there are zeroes.
func untar(r io.Reader, dir string) error {
	archive := tar.NewReader(r)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel("p", filepath.Clean(h.Name))
		if err != nil || !filepath.IsLocal(rel) {
			return fmt.Errorf("archive has %q: %w", h.Name, err)
		}
		path := filepath.Join(dir, rel)
		if h.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(path, 0o755); err != nil {
				return err
			}
			continue
		}
		if err := sparseFile(path, h.Size, archive); err != nil {
			return err
		}
	}
}

func sparseFile(path string, size int64, r io.Reader) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(size); err != nil {
		return err
	}
	page, zero := make([]byte, 64<<10), make([]byte, 64<<10)
	for at := int64(0); ; {
		n, err := io.ReadFull(r, page)
		if n > 0 && !bytes.Equal(page[:n], zero[:n]) {
			if _, err := f.WriteAt(page[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
