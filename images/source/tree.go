package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// Tree is one state of OpenZFS, by content.
type Tree struct {
	ID      string // git's hash of the tree
	Commit  string // "" for edits that are not committed
	Parent  string // the commit that edits were made on; "" for a commit
	Word    string // what the user named it by
	Version string // of META, "2.3.4": no release, which is 1 or rc1
	Name    string // Version-gHASH12 for a commit, Version-tTREE12 for edits
	// Kernel is a hash of what the kernel modules are made of. Equal ones make the same modules, but for the text of `git
	// describe` in them, which scripts/make_gitrev.sh asks of a repository around the build; a Checkout has none of its own.
	Kernel string
	// Userland is a hash of what the commands and libraries are made of. Of module/ it has what libraries compile again, but not
	// what libzpool alone does: zdb, ztest, zhack, zinject, zstream and raidz_test are of the kernel modules' code besides.
	Userland string
	// Configure is a hash of the inputs of autogen.sh and configure. make runs neither when they change.
	Configure string
	// Setup is the part of it that matters to a build of the modules alone: Makefile.am of tests change with every new test.
	Setup string
	Linux Window
}

// Window is the first and the last Linux that META names, "4.18" and "6.14". An old META that names none leaves them "".
type Window struct{ Min, Max string }

// kernelPaths are read by a build of the modules. The Makefile.am of the top only descends into include and module.
var kernelPaths = []string{"module", "include", "config", "META", "configure.ac"}

// notKernel is what no build of the modules for Linux reads of them.
var notKernel = []string{"module/os/freebsd", "include/os/freebsd"}

// userlandPaths are read by a build of the programs.
var userlandPaths = []string{
	"cmd", "lib", "include", "config", "META", "configure.ac", "Makefile.am", "autogen.sh", "etc", "udev", "scripts/Makefile.am",
	// libavl, libnvpair, libunicode, libzfs and libicp are of these.
	"module/avl", "module/nvpair", "module/unicode", "module/zcommon", "module/icp",
}

// notUserland is what no build of the programs for Linux reads of them: lib/libspl has headers of its own in the place of the kernel's,
// and config/kernel-*.m4 ask what the kernel has.
var notUserland = []string{
	"cmd/*/os/freebsd", "lib/*/os/freebsd", "lib/*/include/os/freebsd", "include/os/freebsd", "include/os/linux/kernel", "include/os/linux/spl",
	"config/kernel-*.m4",
}

// setupPaths are what autogen.sh and configure make of kernelPaths, and of the top.
var setupPaths = []string{"config", "META", "configure.ac", "autogen.sh", "Makefile.am", "scripts/Makefile.am", "scripts/objtool-wrapper.in"}

// describe reads what a tree of git is as OpenZFS.
func (o *objects) describe(id string) (Tree, error) {
	t := Tree{ID: id}
	meta, err := o.find(id, "META")
	if err != nil {
		return Tree{}, err
	}
	module, err := o.find(id, "module")
	if err != nil {
		return Tree{}, err
	}
	if meta.mode == "" || meta.isDir() || !module.isDir() {
		return Tree{}, errors.New("this is not OpenZFS: it has no META or no module directory;" +
			" name a checkout of https://github.com/openzfs/zfs")
	}
	text, err := o.read(meta.id, "blob")
	if err != nil {
		return Tree{}, fmt.Errorf("META: %w", err)
	}
	fields := parseMeta(string(text))
	if t.Version, err = version(fields["Version"]); err != nil {
		return Tree{}, err
	}
	t.Linux = Window{Min: fields["Linux-Minimum"], Max: fields["Linux-Maximum"]}
	if t.Kernel, err = o.hash(id, kernelPaths, notKernel); err != nil {
		return Tree{}, err
	}
	if t.Userland, err = o.hash(id, userlandPaths, notUserland); err != nil {
		return Tree{}, err
	}
	if t.Configure, err = o.configured(id, true); err != nil {
		return Tree{}, err
	}
	if t.Setup, err = o.setup(id); err != nil {
		return Tree{}, err
	}
	t.Name = t.Version + "-t" + short(id)
	return t, nil
}

// committed is the tree of a commit.
func (o *objects) committed(id string) (Tree, commit, error) {
	c, err := o.commit(id)
	if err != nil {
		return Tree{}, commit{}, err
	}
	t, err := o.describe(c.tree)
	if err != nil {
		return Tree{}, commit{}, err
	}
	t.Commit, t.Name = id, t.Version+"-g"+short(id)
	return t, c, nil
}

// parseMeta reads lines of "Key: value".
func parseMeta(text string) map[string]string {
	m := map[string]string{}
	for line := range strings.SplitSeq(text, "\n") {
		if key, value, ok := strings.Cut(line, ":"); ok {
			m[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	return m
}

// version checks the version that META names: it becomes part of file names.
func version(v string) (string, error) {
	if v == "" {
		return "", errors.New("its META has no Version: git checkout META brings it back")
	}
	for _, c := range v {
		if (c < '0' || c > '9') && c != '.' && (c < 'a' || c > 'z') || len(v) > 32 || v[0] == '.' {
			return "", fmt.Errorf("its META has the Version %q: want numbers and dots, as 2.3.4", v)
		}
	}
	return v, nil
}

// hash is of what a tree has at some paths, without what lies there and matches a pattern of path.Match.
func (o *objects) hash(tree string, paths, without []string) (string, error) {
	h := sha256.New()
	for _, p := range paths {
		e, err := o.find(tree, p)
		if err == nil {
			err = o.digest(h, p, e, without)
		}
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:40], nil
}

// digest goes below an entry only where there may be something to leave out.
func (o *objects) digest(h io.Writer, at string, e entry, without []string) error {
	below := false
	for _, pattern := range without {
		if ok, err := path.Match(pattern, at); ok || err != nil {
			return err
		}
		below = below || above(at, pattern)
	}
	if !below || !e.isDir() {
		_, err := fmt.Fprintf(h, "%s %s %s\n", at, e.mode, e.id)
		return err
	}
	entries, err := o.tree(e.id)
	for _, c := range entries {
		if err == nil {
			err = o.digest(h, path.Join(at, c.name), c, without)
		}
	}
	return err
}

// above says whether what a pattern matches may lie below a path.
func above(at, pattern string) bool {
	depth := strings.Count(at, "/") + 1
	parts := strings.Split(pattern, "/")
	ok, _ := path.Match(strings.Join(parts[:min(depth, len(parts))], "/"), at)
	return ok && depth < len(parts)
}

// setup is a hash of setupPaths and of the templates of module/ and include/.
func (o *objects) setup(tree string) (string, error) {
	s, err := o.hash(tree, setupPaths, nil)
	if err != nil {
		return "", err
	}
	for _, name := range []string{"module", "include"} {
		e, err := o.find(tree, name)
		if err != nil {
			return "", err
		}
		if e.isDir() {
			below, err := o.configured(e.id, false)
			if err != nil {
				return "", err
			}
			s += " " + below
		}
	}
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:20]), nil
}

// configured is a hash of the inputs of autogen.sh and configure below a tree: config/, META and autogen.sh of the top, and the
// templates everywhere, as automake reads every Makefile.am, also those of tests. It is "" where there are none.
func (o *objects) configured(tree string, top bool) (string, error) {
	if s, ok := o.configure[tree]; ok && !top {
		return s, nil
	}
	entries, err := o.tree(tree)
	if err != nil {
		return "", err
	}
	h, any := sha256.New(), false
	for _, e := range entries {
		id := e.id
		switch ext := path.Ext(e.name); {
		case top && (e.name == "config" || e.name == "META" || e.name == "autogen.sh"):
		case e.isDir():
			if id, err = o.configured(e.id, false); err != nil {
				return "", err
			}
		case ext == ".am" || ext == ".in" || ext == ".ac" || ext == ".m4":
		default:
			continue
		}
		if id != "" {
			any = true
			fmt.Fprintf(h, "%s %s %s\x00", e.mode, id, e.name) //nolint:errcheck // a hash takes all that is written to it
		}
	}
	var s string
	if any {
		s = hex.EncodeToString(h.Sum(nil))[:40]
	}
	if !top {
		o.configure[tree] = s
	}
	return s, nil
}

// treeOfCommit describes the tree of a commit.
func (r *Repo) treeOfCommit(ctx context.Context, id string) (Tree, error) {
	o, err := r.reader(ctx)
	if err != nil {
		return Tree{}, err
	}
	defer o.close()
	t, _, err := o.committed(id)
	return t, err
}

// short is how hashes are shown.
func short(id string) string { return id[:min(12, len(id))] }
