package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/host"
)

func (a *app) gcCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "gc",
		Short: "Remove what killed labs have left behind",
		Long: `Gc removes the directories of machines whose lab is gone, destroys their domains where libvirt runs them, and removes
checkpoints and images that were half made, and checkpoints and pools of tests that nobody has used for 30 days. What belongs to a lab that runs
is not touched; neither are domains of others, nor results and images. Every run does the same when it begins.`,
		Example: `  vdevil gc`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dirs, err := host.DefaultDirs()
			if err != nil {
				return err
			}
			removed, err := lab.Collect(cmd.Context(), dirs)
			var b strings.Builder
			for _, path := range removed {
				fmt.Fprintln(&b, "removed", path)
			}
			if err == nil && len(removed) == 0 {
				b.WriteString("nothing to remove\n")
			}
			_, written := io.WriteString(a.out, b.String())
			return errors.Join(err, written)
		},
	}
}
