package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/report"
)

// checkPairs is checkVersions of words for trials, each a version or a pair FIRST:LATER.
func (f *labFlags) checkPairs(words ...string) error {
	all := make([]string, 0, 2*len(words))
	for _, w := range words {
		all = append(all, lab.Pair(w)...)
	}
	return f.checkVersions(all...)
}

// checkVersions refuses words that can be seen to name no version of OpenZFS.
func (f *labFlags) checkVersions(words ...string) error {
	recipes, err := images.Recipes()
	if err != nil {
		return err
	}
	var errs []error
	for _, w := range words {
		recipe := w == "" || slices.ContainsFunc(recipes, func(r images.Recipe) bool { return r.OpenZFS == w })
		built := strings.Contains(w, "-") // a name of a tree that was compiled, perhaps
		if !recipe && !built && f.source == "" && !lab.IsDir(w) {
			errs = append(errs, fmt.Errorf("there is no recipe for OpenZFS %q; write %s, a revision of a checkout with --source DIR, or a checkout as ./DIR",
				w, either(known(recipes))))
		}
	}
	return usage(errors.Join(errs...))
}

func known(recipes []images.Recipe) []string {
	list := make([]string, len(recipes))
	for i, r := range recipes {
		list[i] = r.OpenZFS
	}
	return list
}

func (a *app) imageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Build, list and remove images of guests",
		Long: `An image is the kernel, initrd, root disk and modules of one OpenZFS version: a package of Debian, a revision of a git
checkout, or a checkout as it is. It is built when it is first needed, and kept in the cache directory.`,
		Example: `  vdevil image list
  vdevil image build 2.3.2 2.3.9
  vdevil image build zfs-2.3.4 --source ~/zfs
  vdevil image source 2.3.2 ./zfs
  vdevil image rm 2.1.11`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.imageBuild(), a.imageList(), a.imageSource(), a.imageRemove())
	return cmd
}

func (a *app) imageBuild() *cobra.Command {
	var f labFlags
	cmd := &cobra.Command{
		Use:   "build [VERSION|REVISION|./DIR...]",
		Short: "Build images unless they are there",
		Long: `Build makes the images of OpenZFS versions, that of the default one if none is named, and prints where they are. What is
there already is not built again.`,
		Example: `  vdevil image build
  vdevil image build 2.1.11 2.4.4 --yes
  vdevil image build pull/18852/head --source ~/zfs
  vdevil image build ./zfs`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.build(cmd.Context(), f, args) },
	}
	f.add(cmd.Flags())
	return cmd
}

func (a *app) build(ctx context.Context, f labFlags, versions []string) (err error) {
	if err := f.checkVersions(versions...); err != nil {
		return err
	}
	if len(versions) == 0 {
		versions = []string{""} // the default one
	}
	view := a.observer(ctx, f.plain)
	defer view.close()
	l, err := a.open(ctx, f, view)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	for _, v := range versions {
		img, err := l.Image(ctx, v)
		if err != nil {
			return interrupted(ctx, err)
		}
		view.aside()
		if _, err := fmt.Fprintf(a.out, "%s\t%s\n", img.OpenZFS, img.Dir); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) imageList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the versions that can be built, and the images that are there",
		Long:    "List shows every OpenZFS version that there is a recipe for, and the images that were built of it.",
		Example: "  vdevil image list --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := versionEntries(cmd.Context())
			if asJSON {
				return errors.Join(err, writeJSON(a.out, list))
			}
			return errors.Join(err, a.printImages(list))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// versionEntry is a version in the list of images, imageEntry an image of it.
type versionEntry struct {
	OpenZFS string       `json:"openzfs"`
	Suite   string       `json:"suite,omitempty"`
	Commit  string       `json:"commit,omitempty"` // of a tree of git without edits
	Bare    bool         `json:"bare,omitempty"`   // without OpenZFS's modules: what images of trees are put on
	Default bool         `json:"default"`
	Images  []imageEntry `json:"images"`
}

type imageEntry struct {
	ID      string    `json:"id"`
	Dir     string    `json:"dir"`
	Kernel  string    `json:"kernel"`
	Built   time.Time `json:"built"`
	Seconds float64   `json:"seconds"`
	// Current images are used; the others were built by an older lab and can be removed.
	Current bool `json:"current"`
}

func entryOf(i *images.Image) imageEntry {
	return imageEntry{i.ID, i.Dir, i.Release, i.Built, i.Seconds, i.Current}
}

func openStore(ctx context.Context) (*images.Store, error) {
	dirs, err := host.DefaultDirs()
	if err != nil {
		return nil, err
	}
	return images.Open(ctx, dirs)
}

// versionEntries has the good images also when there is an error about damaged ones.
func versionEntries(ctx context.Context) ([]versionEntry, error) {
	store, err := openStore(ctx)
	if err != nil {
		return nil, err
	}
	recipes, err := images.Recipes()
	if err != nil {
		return nil, err
	}
	built, damaged := store.List()
	list := make([]versionEntry, 0, len(recipes))
	for _, r := range recipes {
		v := versionEntry{OpenZFS: r.OpenZFS, Suite: r.Suite, Default: r.Default, Images: []imageEntry{}}
		for _, img := range built {
			if img.OpenZFS == r.OpenZFS {
				v.Images = append(v.Images, entryOf(img))
			}
		}
		list = append(list, v)
	}
	for _, img := range built {
		switch {
		case img.Bare:
			list = append(list, versionEntry{OpenZFS: img.OpenZFS, Bare: true, Images: []imageEntry{entryOf(img)}})
		case img.Tree != nil:
			list = append(list, versionEntry{OpenZFS: img.OpenZFS, Commit: img.Tree.Commit, Images: []imageEntry{entryOf(img)}})
		}
	}
	return list, damaged
}

func (a *app) printImages(list []versionEntry) error {
	var b strings.Builder
	b.WriteString("OPENZFS\tSUITE\tKERNEL\tBUILT IN\tDIRECTORY\n")
	for _, v := range list {
		suite := cmp.Or(v.Suite, "git")
		if v.Bare {
			suite = "below git"
		}
		if v.Default {
			suite += " (default)"
		}
		if len(v.Images) == 0 {
			fmt.Fprintf(&b, "%s\t%s\t\t\tnot built\n", v.OpenZFS, suite)
		}
		for _, i := range v.Images {
			old := ""
			if !i.Current {
				old = " (of an older lab, not used)"
			}
			fmt.Fprintf(&b, "%s\t%s\t%s\t%s\t%s%s\n", v.OpenZFS, suite, i.Kernel, report.Clock(report.Seconds(i.Seconds)), i.Dir, old)
		}
	}
	return columns(a.out, b.String())
}

func (a *app) imageSource() *cobra.Command {
	var f labFlags
	cmd := &cobra.Command{
		Use:   "source VERSION DIR",
		Short: "Unpack the source of a package as a checkout",
		Long: `Source makes a new directory a git checkout of what the package of a version compiles its modules of: something to edit, and to
run with --zfs DIR. It has no programs, so that a guest keeps those of the package.`,
		Example: `  vdevil image source 2.3.2 ./zfs
  vdevil run blkptr-dva-flip --zfs ./zfs --trials 1`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if err := f.checkVersions(args[0]); err != nil {
				return err
			}
			view := a.observer(cmd.Context(), f.plain)
			defer view.close()
			l, err := a.open(cmd.Context(), f, view)
			if err != nil {
				return interrupted(cmd.Context(), err)
			}
			defer func() { err = errors.Join(err, l.Close()) }()
			return interrupted(cmd.Context(), l.Unpack(cmd.Context(), args[0], args[1]))
		},
	}
	f.add(cmd.Flags())
	return cmd
}

func (a *app) imageRemove() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "rm VERSION... | --all",
		Short: "Remove images",
		Long: `Rm removes the images of OpenZFS versions, damaged ones and those of older labs included, and what was kept for building
them. They are built again when they are needed. With --all goes what compiles trees of git, too, and all that it keeps.`,
		Example: `  vdevil image rm 2.1.11
  vdevil image rm --all`,
		RunE: func(cmd *cobra.Command, versions []string) error {
			if all == (len(versions) > 0) {
				return usage(errors.New("name versions, or write --all"))
			}
			store, err := openStore(cmd.Context())
			if err != nil {
				return err
			}
			if all {
				return removeAll(store)
			}
			var errs []error
			for _, v := range versions {
				errs = append(errs, remove(store, v))
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "remove the images of all versions")
	return cmd
}

// remove removes the images of a version that there is a recipe for or an image of.
func remove(store *images.Store, version string) error {
	unknown := new(labFlags).checkVersions(version)
	built, _ := store.List() // what is damaged is no obstacle
	if unknown != nil && !slices.ContainsFunc(built, func(i *images.Image) bool { return i.OpenZFS == version }) {
		return unknown
	}
	return store.Remove(version)
}

// removeAll removes everything, also what a recipe of an older lab has left.
func removeAll(store *images.Store) error {
	recipes, err := images.Recipes()
	if err != nil {
		return err
	}
	versions := known(recipes)
	built, _ := store.List() // what is damaged is no obstacle
	for _, i := range built {
		versions = append(versions, i.OpenZFS)
	}
	slices.Sort(versions)
	errs := []error{store.RemoveBuilders()}
	for _, v := range slices.Compact(versions) {
		if err := store.Remove(v); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
