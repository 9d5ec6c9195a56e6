package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/host"
)

func (a *app) doctorCommand() *cobra.Command {
	var asJSON bool
	var driver driverFlags
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check whether this computer can run the lab",
		Long: `Doctor examines the accelerator, the host packages, disk and memory, what the kernel allows, and the memory errors that
this computer has counted itself. It changes nothing. Each line is good, or says what to do; the exit status is 3 when
one is not good. vdevil run installs missing packages by itself. With --driver libvirt, the daemon is examined, too: whether
it answers, as whom it runs QEMU, and what that user may reach.`,
		Example: `  vdevil doctor
  vdevil doctor --driver libvirt
  vdevil doctor --driver libvirt --connect qemu:///session
  vdevil doctor --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dirs, err := host.DefaultDirs()
			if err != nil {
				return err
			}
			if err := driver.check(); err != nil {
				return err
			}
			checks, err := lab.Doctor(cmd.Context(), dirs, driver.name.value, driver.connect)
			if err != nil {
				return err
			}
			if asJSON {
				err = writeJSON(a.out, checks)
			} else {
				err = a.diagnosis(checks)
			}
			return errors.Join(err, sick(checks))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	driver.add(cmd.Flags())
	return cmd
}

func (a *app) diagnosis(checks []host.Check) error {
	var b strings.Builder
	for _, c := range checks {
		word := "good"
		if !c.OK {
			word = "BAD"
		}
		fmt.Fprintf(&b, "%s\t%s\t%s\n", word, c.Name, c.Detail)
		if c.Remedy != "" {
			fmt.Fprintf(&b, "\t\t-> %s\n", c.Remedy)
		}
	}
	return columns(a.out, b.String())
}

func sick(checks []host.Check) error {
	var names []string
	for _, c := range checks {
		if !c.OK {
			names = append(names, c.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("this computer is not ready: %s", strings.Join(names, ", "))
}
