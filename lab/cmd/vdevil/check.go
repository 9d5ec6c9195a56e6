package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vdevil/vdevil/scenarios"
)

func (a *app) checkCommand() *cobra.Command {
	var format, schema bool
	cmd := &cobra.Command{
		Use:   "check FILE...",
		Short: "Check scenario files without booting anything",
		Long: `Check reads scenario files as run does and says everything that is wrong with them, each with its line and what to write
instead. Of a file that is right it prints what a run of it would be, or with --format the file itself, written anew: the same keys and
values, indented alike, without comments. The exit status is 0 when all files are right.

With --schema it prints a JSON Schema of such files, by which an editor completes keys and marks what cannot stand where. In the first line
of a file, # yaml-language-server: $schema=vdevil.json names it to most of them.`,
		Example: `  vdevil check ./my-scenario.yaml
  vdevil check --format ./generated.yaml
  vdevil check scenarios/*.yaml
  vdevil check --schema > vdevil.json`,
		RunE: func(_ *cobra.Command, files []string) error {
			switch {
			case schema && (format || len(files) > 0):
				return usage(errors.New("--schema takes no files and no --format"))
			case schema:
				text, err := scenarios.Schema()
				_, wrong := a.out.Write(text)
				return errors.Join(err, wrong)
			case len(files) == 0:
				return usage(errors.New("check takes the files of scenarios, or --schema"))
			}
			var b strings.Builder
			var errs []error
			for _, file := range files {
				s, err := scenarios.Load(file)
				if err != nil {
					errs = append(errs, err)
					continue
				}
				if format {
					text, err := scenarios.Format(file, []byte(s.Source))
					if _, wrong := a.out.Write(text); err != nil || wrong != nil {
						return errors.Join(err, wrong)
					}
					continue
				}
				fmt.Fprintf(&b, "%s\tright: %s, checkpoints: %d, at most %d trials\n", file, armsOf(s), checkpointsOf(s), trialsOf(s))
			}
			return errors.Join(columns(a.out, b.String()), usage(errors.Join(errs...)))
		},
	}
	cmd.Flags().BoolVar(&format, "format", false, "print the files, written anew")
	cmd.Flags().BoolVar(&schema, "schema", false, "print a JSON Schema of such files, for editors")
	return cmd
}

// armsOf counts those of a scenario in words.
func armsOf(s *scenarios.Scenario) string {
	controls := 0
	for _, arm := range s.Arms {
		if arm.Control {
			controls++
		}
	}
	return fmt.Sprintf("fault arms: %d, control arms: %d", len(s.Arms)-controls, controls)
}

// checkpointsOf is how many machines are prepared for a scenario.
func checkpointsOf(s *scenarios.Scenario) int {
	keys := map[string]bool{}
	for _, arm := range s.Arms {
		if r, err := s.ForArm(arm.Name); err == nil {
			keys[r.PrepareKey()] = true
		}
	}
	return len(keys)
}

func trialsOf(s *scenarios.Scenario) (sum int) {
	for _, arm := range s.Arms {
		sum += arm.Trials
	}
	return sum
}
