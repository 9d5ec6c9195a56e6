package main

import (
	"github.com/vdevil/vdevil/lab/zfs/audit/offline"

	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/vdevil/vdevil/lab/zfs/audit"
	"github.com/vdevil/vdevil/lab/zfs/audit/device"
)

// auditFlags are those of audit.
type auditFlags struct {
	offline.Options
	memory uint
	json   bool
	all    bool
}

func (a *app) auditCommand() *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use:   "audit DEVICE_OR_IMAGE...",
		Short: "Say whether the space maps of a pool agree with what is on it",
		Long: `Audit reads a pool from its devices, without ZFS, and compares what its space maps call allocated with everything that
refers to space: datasets, snapshots, clones, what is still to be freed, intent logs, the checkpoint, the tables of
deduplicated and cloned blocks. It finds what a scrub cannot see, because all checksums are right: space that is free or
allocated twice, free under a file, leaked, lists that will free it twice. It says what each finding does, and what to do.

Name the devices or images of the pool, in any order, others beside them do no harm: disks, partitions, raw images, qcow2
images. They are opened read-only; nothing is ever written. Files that an image names are opened with --backing alone, and
then only files, each of which is named in the report. Export the pool first. One that is imported
on this computer, has a device that the kernel holds or an image that a QEMU writes to, or moves on while it is read, is
refused, unless --live asks for it: then findings may come from changes during the walk, and only what a second audit
finds again is there.

The exit status is
  0  the pool is consistent
  1  it is not
  2  it cannot be read, or uses what is not supported; or wrong usage
  3  interrupted`,
		Example: `  zpool export tank && vdevil audit /dev/sda1 /dev/sdb1
  vdevil audit /var/lib/libvirt/images/*.qcow2 --pool tank
  vdevil audit tank.img --json
  vdevil audit tank.img --txg 1234      the pool as it was in transaction group 1234, or the last before`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.Paths = args
			return a.audit(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.Pool, "pool", "", "the `NAME` or GUID of the pool, if the devices have several")
	flags.Uint64Var(&f.TXG, "txg", 0, "audit the newest state not younger than this transaction group")
	flags.BoolVar(&f.Data, "data", false, "read and verify all blocks, as a scrub does, not only those that lead to others")
	flags.BoolVar(&f.Quick, "quick", false, "do not compare what datasets share with their snapshots, most of the work if these are many")
	flags.BoolVar(&f.Live, "live", false, "audit a pool that is in use")
	flags.BoolVar(&f.Backing, "backing", false, "open the backing and data files that qcow2 images name, too: whoever made an image chose them")
	flags.UintVar(&f.memory, "memory", 256, "sort this many `MiB` in memory and what is more on disk; a block needs 32 bytes for each copy")
	flags.StringVar(&f.TempDir, "temp", "", "the `DIRECTORY` for sorting on disk (default: $TMPDIR, or /var/tmp)")
	flags.BoolVar(&f.all, "all", false, "print all findings, not the first few of each kind")
	flags.BoolVar(&f.json, "json", false, "print one JSON document instead of text, also when the pool cannot be audited")
	return cmd
}

func (a *app) audit(ctx context.Context, f auditFlags) error {
	// Much is read that lives for a moment: it costs a tenth more time to have it gone soon, and a third less memory.
	debug.SetGCPercent(15)
	f.Memory = int64(f.memory) << 20
	view := a.newAuditView(time.Now)
	f.Progress = view.progress
	if !f.json {
		f.Found = view.found
	}
	r, err := offline.Audit(ctx, f.Options)
	view.close()
	if f.json {
		if e := writeJSON(a.out, r.Document(err)); e != nil {
			return e
		}
	}
	if err != nil && ctx.Err() != nil {
		return interrupted(ctx, err)
	}
	var used *device.InUseError
	var named *device.NamedFileError
	switch {
	case errors.As(err, &named):
		return &unreadableError{fmt.Errorf("%w; if you trust whoever made it, write --backing", err)}
	case errors.As(err, &used):
		return &unreadableError{fmt.Errorf("%w; export the pool, or write --live, see --help", err)}
	case err != nil:
		return &unreadableError{err}
	}
	if !f.json {
		_, err = fmt.Fprint(a.out, auditText(r, f.all))
	}
	if err == nil && !r.Clean() {
		err = &notHeldError{fmt.Sprintf("pool %s is inconsistent", r.Pool)}
	}
	return err
}

// unreadableError says that an audit was not possible.
type unreadableError struct{ error }

func (e *unreadableError) Unwrap() error { return e.error }

const firstFew = 5 // findings of a kind that are printed without --all

// auditText is a report for people.
func auditText(r offline.Audited, all bool) string {
	var s strings.Builder
	fmt.Fprintf(&s, "pool %s (GUID %d), txg %d: %s block pointers, %s of %s allocated\n", r.Pool, r.GUID, r.TXG,
		humanize.Comma(int64(r.Totals.Blocks)), humanize.IBytes(r.Allocated), humanize.IBytes(r.Capacity))
	if r.Checkpoint != 0 {
		fmt.Fprintf(&s, "its checkpoint of txg %d was audited with it\n", r.Checkpoint)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&s, "note: %s\n", n.Text)
	}
	if r.Incomplete {
		s.WriteString("note: parts of the pool could not be read: what is called leaked may belong to them\n")
	}
	if r.Clean() {
		s.WriteString("no inconsistency found\n")
		return s.String()
	}
	for list := r.Findings; len(list) > 0; {
		n := slices.IndexFunc(list, func(f audit.Finding) bool { return f.Kind != list[0].Kind })
		if n < 0 {
			n = len(list)
		}
		auditKind(&s, list[:n], r.Omitted[list[0].Kind], all)
		list = list[n:]
	}
	if files := sharedFiles(r.Findings); len(files) > 1 {
		fmt.Fprintf(&s, "\nThese %d files share blocks and must not:\n", len(files))
		for _, f := range files {
			fmt.Fprintf(&s, "  %s\n", f)
		}
	}
	return s.String()
}

// auditKind prints the findings of one kind, and what they mean.
func auditKind(s *strings.Builder, list []audit.Finding, omitted uint64, all bool) {
	kind := list[0].Kind
	fmt.Fprintf(s, "\n%s: %s\n", kind, plural(uint64(len(list))+omitted, "finding"))
	printed := list
	if !all {
		printed = list[:min(firstFew, len(list))]
	}
	for i := range printed {
		f := &printed[i]
		s.WriteString("  - ")
		if f.Size > 0 {
			fmt.Fprintf(s, "vdev %d, metaslab %d, offset %#x, %s", f.VDev, f.Metaslab, f.Offset, humanize.IBytes(f.Size))
			if f.Detail != "" {
				s.WriteString(": ")
			}
		}
		s.WriteString(f.Detail + "\n")
		for k := range f.Owners {
			fmt.Fprintf(s, "      %v\n", &f.Owners[k])
		}
		if f.MoreOwners > 0 {
			fmt.Fprintf(s, "      and %s\n", plural(f.MoreOwners, "more reference"))
		}
	}
	if rest := uint64(len(list)-len(printed)) + omitted; rest > 0 {
		fmt.Fprintf(s, "  and %d more\n", rest)
	}
	advice := kind.Advice()
	wrap(s, "What it does: "+advice.Effect)
	wrap(s, "What to do:   "+advice.Remedy)
}

func plural(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// wrap writes a paragraph in lines of at most 100 characters.
func wrap(s *strings.Builder, text string) {
	const width = 100
	line := " "
	for _, word := range strings.Fields(text) {
		if len(line)+1+len(word) > width {
			s.WriteString(line + "\n")
			line = "   "
		}
		line += " " + word
	}
	s.WriteString(line + "\n")
}

// sharedFiles are the files that are owners of space together with others.
func sharedFiles(all []audit.Finding) (files []string) {
	for _, f := range all {
		if f.Kind != audit.AllocatedTwice {
			continue
		}
		for _, o := range f.Owners {
			if o.Path != "" {
				files = append(files, o.Dataset+":"+o.Path)
			}
		}
	}
	slices.Sort(files)
	return slices.Compact(files)
}
