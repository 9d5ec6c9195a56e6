package main

import (
	"github.com/vdevil/vdevil/lab/zfs/forge/offline"

	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vdevil/vdevil/lab/zfs/forge"
)

// forgeFlags are those of forge.
type forgeFlags struct {
	offline.Options
	metaslab   string
	list, json bool
}

func (a *app) forgeCommand() *cobra.Command {
	var f forgeFlags
	cmd := &cobra.Command{
		Use:   "forge NAME [flags] IMAGE...",
		Short: "Damage the metadata of a pool, with valid checksums",
		Long: `Forge makes a pool wrong in one known way: the space maps, lists and pointers say what is not so, and every checksum
is right. No scrub sees it. It works on images of all devices of one pool, which must be exported or not running, and
tells what it has changed: object, block, offset, bytes before and after, and where they lie.

IMPORTING A FORGED POOL CAN PANIC THE KERNEL, and what is written to it afterwards can destroy the files in it. Forge
copies, and import them in virtual machines. --in-place cannot be undone.

Images are copied, beside themselves as NAME` + offline.Suffix + ` or into --output; the originals stay as they are unless --in-place says
otherwise. Blocks are rewritten where they lie: what does not fit there is refused, and so is what the pool has no
victim for. The seed chooses the victim; flags narrow the choice.

Forgeries:
` + forgeriesHelp(),
		Example: `  vdevil forge --list
  vdevil forge spacemap-duplicate-free disk0.img disk1.img --output forged
  vdevil forge shared-block tank.img --dataset tank/home --file /letters/june --json
  vdevil forge spacemap-partial-free tank.img --metaslab 0:17 --seed 42`,
		Args: func(_ *cobra.Command, args []string) error { return f.check(args) },
		RunE: func(cmd *cobra.Command, args []string) error { return a.forge(cmd.Context(), f, args) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.list, "list", false, "list the forgeries")
	flags.BoolVar(&f.json, "json", false, "print one JSON document")
	flags.Uint64Var(&f.Seed, "seed", 1, "what chooses the victim")
	flags.StringVar(&f.Output, "output", "", "the `directory` for the forged copies")
	flags.BoolVar(&f.InPlace, "in-place", false, "change the images or devices themselves; there is no way back")
	flags.BoolVar(&f.NewTXG, "new-txg", false, "write an uberblock of the next txg instead of changing the newest one")
	flags.StringVar(&f.Pool, "pool", "", "the `name` of the pool, where the images have several")
	flags.StringVar(&f.metaslab, "metaslab", "", "the metaslab to hit, as `vdev:number`")
	flags.StringVar(&f.Dataset, "dataset", "", "the `dataset` to hit")
	flags.StringVar(&f.File, "file", "", "the file to hit, a `path` from the root of the dataset")
	return cmd
}

func forgeriesHelp() string {
	var s strings.Builder
	for _, f := range forge.All() {
		fmt.Fprintf(&s, "  %-26s %s\n", f.Name, f.Doc)
	}
	return strings.TrimSuffix(s.String(), "\n")
}

// check reads what the flags say.
func (f *forgeFlags) check(args []string) error {
	if f.list {
		if len(args) > 0 {
			return errors.New("--list takes no arguments")
		}
		return nil
	}
	if len(args) < 2 {
		return errors.New("write the name of a forgery and the images of a pool; --list shows the names")
	}
	if f.InPlace && f.Output != "" {
		return errors.New("--in-place and --output contradict each other")
	}
	if f.File != "" && f.Dataset == "" {
		return errors.New("--file needs --dataset")
	}
	if f.metaslab != "" {
		m := &forge.Metaslab{}
		if _, err := fmt.Sscanf(f.metaslab+"\n", "%d:%d\n", &m.VDev, &m.ID); err != nil {
			return fmt.Errorf("--metaslab %q: write vdev and number, such as 0:17", f.metaslab)
		}
		f.Metaslab = m
	}
	_, err := forge.Find(args[0])
	return err
}

func (a *app) forge(ctx context.Context, f forgeFlags, args []string) error {
	if f.list {
		return a.listForgeries(f.json)
	}
	f.Name, f.Devices = args[0], args[1:]
	made, err := offline.Forge(ctx, f.Options)
	if err != nil {
		return interrupted(ctx, err)
	}
	if f.json {
		return writeJSON(a.out, made)
	}
	return columns(a.out, forgedText(made))
}

func (a *app) listForgeries(asJSON bool) error {
	if !asJSON {
		_, err := fmt.Fprintln(a.out, forgeriesHelp())
		return err
	}
	type forgery struct {
		Name string `json:"name"`
		Doc  string `json:"doc"`
	}
	var all []forgery
	for _, f := range forge.All() {
		all = append(all, forgery{f.Name, f.Doc})
	}
	return writeJSON(a.out, all)
}

// forgedText has its cells parted by tabs.
func forgedText(f offline.Forged) string {
	const shown = 32 // bytes of a change
	hex := func(p []byte) string {
		if len(p) > shown {
			return fmt.Sprintf("%x... (%d bytes)", p[:shown], len(p))
		}
		return fmt.Sprintf("%x", p)
	}
	var s strings.Builder
	fmt.Fprintf(&s, "%s\n", f.Effect)
	for _, c := range f.Changes {
		where := "embedded in its pointer"
		if len(c.DVAs) > 0 {
			where = strings.Trim(fmt.Sprint(c.DVAs), "[]")
		}
		fmt.Fprintf(&s, "  %v\tat %s\n    before\t%s\n    after\t%s\n", c.Position, where, hex(c.Before), hex(c.After))
	}
	for _, path := range f.Written {
		fmt.Fprintf(&s, "forged: %s\n", path)
	}
	return s.String()
}
