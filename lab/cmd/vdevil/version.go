package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/vdevil/vdevil/lab"
)

// versions say what exactly runs.
type versions struct {
	Version string `json:"version"`
	// Commit is that of the source, with "+changes" when it had uncommitted ones; empty when the binary does not tell.
	Commit string `json:"commit,omitempty"`
	Go     string `json:"go"`
}

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Long:    "Version prints that of the lab, the commit it was built from where the binary tells, and that of Go.",
		Example: "  vdevil version --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := versions{Version: lab.Version, Commit: commit(), Go: runtime.Version()}
			if asJSON {
				return writeJSON(a.out, v)
			}
			text := "vdevil " + v.Version
			if v.Commit != "" {
				text += " (" + v.Commit + ")"
			}
			_, err := fmt.Fprintf(a.out, "%s, %s\n", text, v.Go)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	set := map[string]string{}
	for _, s := range info.Settings {
		set[s.Key] = s.Value
	}
	if set["vcs.revision"] != "" && set["vcs.modified"] == "true" {
		return set["vcs.revision"] + "+changes"
	}
	return set["vcs.revision"]
}
