package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/images/source"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/trial"
)

// A version of OpenZFS is named by a word: a Debian version that there is a recipe for (2.3.2), a directory with a checkout of
// OpenZFS, which is taken as it is, edits included, or a revision of the checkout that Options.Source names. What a directory is
// compiled to can be named as the tables do, too.

// IsDir says whether a word names a directory rather than a revision.
func IsDir(word string) bool {
	if word == "." || word == ".." || filepath.IsAbs(word) || strings.HasPrefix(word, "./") || strings.HasPrefix(word, "../") {
		return true
	}
	_, err := os.Stat(filepath.Join(word, "META"))
	return err == nil
}

// Pair are the versions that a word for a trial names: one, or two with a colon between them. The second one is for machines that come
// after a reboot.
func Pair(word string) []string {
	if IsDir(word) { // whose name may have one
		return []string{word}
	}
	return strings.SplitN(word, ":", 2)
}

// VersionError says that a word names no version, or two words nothing to search between.
type VersionError struct{ Err error }

func (e *VersionError) Error() string { return e.Err.Error() }

func (e *VersionError) Unwrap() error { return e.Err }

// misnamed makes an error about words one of that kind, unless the user has had enough.
func misnamed(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	return &VersionError{err}
}

// tree is one that can be compiled.
type tree struct {
	repo *source.Repo
	base *images.Image
	tree source.Tree
}

// Image is the image of a version of OpenZFS, "" being the default one. It is built if there is none.
func (l *Lab) Image(ctx context.Context, word string) (*images.Image, error) {
	at, err := l.Find(ctx, word)
	if err != nil {
		return nil, err
	}
	return l.ensure(ctx, at)
}

// asked is the image, or the pair of them, that a word for a trial names. What there is none of is built.
func (l *Lab) asked(ctx context.Context, word string) (trial.Image, error) {
	var all []trial.Image
	for _, v := range Pair(word) {
		img, err := l.Image(ctx, v)
		if err != nil {
			return trial.Image{}, err
		}
		all = append(all, trial.Image{ID: img.ID, OpenZFS: img.OpenZFS})
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return all[0].Then(all[1]), nil
}

// Find says which image a version has, without compiling its tree.
func (l *Lab) Find(ctx context.Context, word string) (trial.Image, error) {
	if word == "" || slices.Contains(l.images.Versions(), word) {
		img, err := l.packaged(ctx, word)
		if err != nil {
			return trial.Image{}, err
		}
		return trial.Image{ID: img.ID, OpenZFS: img.OpenZFS}, nil
	}
	if all, _ := l.images.List(); strings.Contains(word, "-") { // what is damaged is said when it is needed
		for _, img := range all {
			if img.Tree != nil && img.OpenZFS == word && img.Current {
				l.known.Store(img.ID, img)
				return trial.Image{ID: img.ID, OpenZFS: word}, nil
			}
		}
	}
	repo, t, err := l.resolve(ctx, word)
	if err != nil {
		return trial.Image{}, err
	}
	return l.Plan(ctx, repo, t)
}

// Plan says which image a tree has. It is compiled when it is needed.
func (l *Lab) Plan(ctx context.Context, repo *source.Repo, t source.Tree) (trial.Image, error) {
	t, err := repo.Patched(ctx, t)
	if err != nil {
		return trial.Image{}, misnamed(ctx, err)
	}
	base, err := l.images.On(ctx, t, images.Options{Mirror: l.opts.Mirror, Progress: l.told("what OpenZFS is put on")})
	if errors.Is(err, images.ErrNoKernel) {
		err = misnamed(ctx, err)
	}
	if err != nil {
		return trial.Image{}, err
	}
	id := images.TreeID(base, t)
	l.trees.Store(id, tree{repo, base, t})
	return trial.Image{ID: id, OpenZFS: t.Name}, nil
}

// Source opens the checkout that revisions are taken from, and reads the list of patches that some need, if there is one.
func (l *Lab) Source(ctx context.Context, dir, backports string) (*source.Repo, error) {
	if err := host.Install(ctx, host.Missing(host.Git()...), l.opts.Install); err != nil {
		return nil, err
	}
	repo, err := l.images.Source(ctx, dir)
	if err == nil && backports != "" {
		err = repo.Backport(ctx, backports)
	}
	return repo, misnamed(ctx, err)
}

// Unpack makes dir a checkout of what the package of a version, "" being the default one, compiles.
func (l *Lab) Unpack(ctx context.Context, version, dir string) error {
	if err := host.Install(ctx, host.Missing(host.Git()...), l.opts.Install); err != nil {
		return err
	}
	return l.images.Unpack(ctx, version, dir, images.Options{Mirror: l.opts.Mirror, Progress: l.told("source of OpenZFS " + version)})
}

func (l *Lab) resolve(ctx context.Context, word string) (*source.Repo, source.Tree, error) {
	dir := l.opts.Source
	if IsDir(word) {
		dir = word
	}
	if dir == "" {
		return nil, source.Tree{}, misnamed(ctx, fmt.Errorf("there is no recipe for OpenZFS %q, and no checkout to take it from: write %s, name a checkout with --source DIR, or a directory as ./DIR",
			word, strings.Join(l.images.Versions(), ", ")))
	}
	repo, err := l.Source(ctx, dir, l.opts.Backports)
	if err != nil {
		return nil, source.Tree{}, err
	}
	var t source.Tree
	if IsDir(word) {
		t, err = repo.Edited(ctx)
	} else {
		t, err = repo.Resolve(ctx, word)
	}
	return repo, t, misnamed(ctx, err)
}

// packaged is the image of a recipe.
func (l *Lab) packaged(ctx context.Context, version string) (*images.Image, error) {
	img, err := l.images.Ensure(ctx, version, images.Options{Mirror: l.opts.Mirror, Progress: l.step(cmp.Or(version, l.images.Versions()[0]))})
	if err == nil {
		l.known.Store(img.ID, img)
	}
	return img, err
}

// step tells of the steps of a build.
func (l *Lab) step(version string) func(images.Step) { return l.told("image of OpenZFS " + version) }

func (l *Lab) told(what string) func(images.Step) {
	return func(s images.Step) {
		l.opts.Progress(Progress{
			What: what + ": " + s.Name, Index: s.Index, Of: s.Of, Expected: s.Expected, Took: s.Elapsed, Done: s.Done,
		})
	}
}

// ensure is an image that is there, or is built. One with the same OpenZFS and other content would be another trial.
func (l *Lab) ensure(ctx context.Context, at trial.Image) (*images.Image, error) {
	if known, ok := l.known.Load(at.ID); ok {
		return called(known.(*images.Image), at.OpenZFS), nil
	}
	if found, ok := l.trees.Load(at.ID); ok {
		t := found.(tree)
		img, err := l.images.EnsureTree(ctx, t.repo, t.base, t.tree, images.Options{Mirror: l.opts.Mirror, Progress: l.step(t.tree.Name)})
		return called(img, at.OpenZFS), err
	}
	img, err := l.images.Tree(at.ID)
	switch {
	case err != nil || img != nil:
		return called(img, at.OpenZFS), err
	case slices.Contains(l.images.Versions(), at.OpenZFS):
		if img, err = l.packaged(ctx, at.OpenZFS); err == nil && img.ID != at.ID {
			err = fmt.Errorf("the trial is one with image %s, here OpenZFS %s has image %s", at.ID, at.OpenZFS, img.ID)
		}
		return img, err
	}
	return nil, fmt.Errorf("the image of OpenZFS %s, %s, is gone: vdevil image build REVISION --source DIR builds that of a revision anew, "+
		"and vdevil peek --zfs DIR that of a directory which is as it was", at.OpenZFS, at.ID)
}

// called is an image under the name of one of its trees: several share it.
func called(img *images.Image, name string) *images.Image {
	if img == nil || img.OpenZFS == name {
		return img
	}
	named := *img
	named.OpenZFS = name
	return &named
}
