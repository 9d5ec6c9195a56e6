package main

import (
	"github.com/vdevil/vdevil/lab/fault/peek"

	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/zfs/core"
)

// peekFlags are those of peek.
type peekFlags struct {
	momentFlags
	json bool
}

func (a *app) peekCommand() *cobra.Command {
	var f peekFlags
	cmd := &cobra.Command{
		Use:   "peek [TARGET]",
		Short: "Show what of ZFS is in a guest's memory",
		Long: `Peek prepares a guest for a scenario, runs its workload until the trigger fires, and looks into the memory of the
machine from outside. Without a TARGET it counts all that is there, by kind. A TARGET is a class, whose objects are
listed, or a path, whose value is printed as C would.

A path begins with spa("NAME") or spa, with an argument of the function at the trigger, with a type that exactly one of
its arguments points to, or with a global variable of the modules. .FIELD and ->FIELD are the same, [*] is one at
random, [last] the last.

` + classesHelp() + "\n" + membersHelp(),
		Example: `  vdevil peek
  vdevil peek 'spa.spa_uberblock'
  vdevil peek 'spa("tank").vdev[0].ms[*].ms_allocatable.seg[0]' --zfs 2.4.4
  vdevil peek bp --at zio_free_sync
  vdevil peek arc-data-dirty --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.peek(cmd.Context(), f, strings.Join(args, ""))
		},
	}
	f.addMoment(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&f.json, "json", false, "print one JSON document instead of tables")
	f.add(flags)
	return cmd
}

func classesHelp() string {
	var s strings.Builder
	s.WriteString("Classes:\n")
	for _, c := range core.Classes() {
		fmt.Fprintf(&s, "  %-20s %s\n", c.Name, c.Doc)
	}
	return s.String()
}

func membersHelp() string {
	var s strings.Builder
	s.WriteString("Members that paths have beside those of C:\n")
	for _, m := range core.PseudoMembers() {
		fmt.Fprintf(&s, "  %-20s %-34s %s\n", m.Type, m.Usage, m.Doc)
	}
	return strings.TrimSuffix(s.String(), "\n")
}

func (a *app) peek(ctx context.Context, f peekFlags, target string) error {
	s, trigger, err := f.moment()
	if err != nil {
		return err
	}
	f.jobs = 1
	view := a.observer(ctx, f.plain)
	l, err := a.open(ctx, f.labFlags, view)
	if err != nil {
		view.close()
		return interrupted(ctx, err)
	}
	var p peek.Seen
	err = l.Look(ctx, s, "", f.version, trigger, f.seed, func(m *fault.Moment) (err error) {
		p, err = peek.At(ctx, m, target)
		return err
	})
	view.close()
	if err := interrupted(ctx, errors.Join(err, l.Close())); err != nil {
		return err
	}
	for _, missed := range p.Missed {
		a.say("not listed: %s\n", missed)
	}
	if f.json {
		return writeJSON(a.out, p)
	}
	return columns(a.out, peekText(p))
}

// peekText has its cells parted by tabs.
func peekText(p peek.Seen) string {
	var s strings.Builder
	switch {
	case p.Value != nil:
		fmt.Fprintf(&s, "%s\t%s\t%d bits\n", p.Value.Path, p.Value.Type, p.Value.Size)
		for _, piece := range p.Value.Pieces {
			fmt.Fprintf(&s, "  virtual %#x\tphysical %#x\t%d bytes\n", piece.Virt, piece.Phys, piece.Len)
		}
		fmt.Fprintln(&s, p.Value.Text)
	case p.Summary != nil:
		fmt.Fprintln(&s, "KIND\tCOUNT\tBYTES\tDIRTY")
		for _, k := range p.Summary {
			fmt.Fprintf(&s, "%s\t%d\t%d\t%d\n", k.Kind, k.Count, k.Bytes, k.Dirty)
		}
	default:
		fmt.Fprintln(&s, "ADDRESS\tBYTES\tTYPE\tPATH\t")
		for _, o := range p.Objects {
			note := o.Detail
			if o.Dirty {
				note = strings.TrimSpace("dirty " + note)
			}
			fmt.Fprintf(&s, "%#x\t%d\t%s\t%s\t%s\n", o.Addr, o.Size, o.Type, o.Path, note)
		}
	}
	return s.String()
}
