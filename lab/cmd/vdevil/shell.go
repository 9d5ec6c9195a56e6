package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"
	"golang.org/x/term"

	"github.com/vdevil/vdevil/scenarios"
)

// shellFlags are those of shell.
type shellFlags struct {
	labFlags
	arm     string
	version string
}

func (a *app) shellCommand() *cobra.Command {
	var f shellFlags
	cmd := &cobra.Command{
		Use:   "shell SCENARIO",
		Short: "Open a shell in a guest prepared for a scenario",
		Long: `Shell forks the checkpoint that the trials of a scenario are forked from, its pool made and its preparation done, and
logs in as root. The guest is thrown away when the shell exits. When stdin is not a terminal, bash runs the commands
that come from it, and the exit status is 3 when they fail.`,
		Example: `  vdevil shell legacy-dedup-gang
  vdevil shell legacy-dedup-gang --arm fast-dedup --zfs 2.3.9
  echo 'zpool status -v; zdb -l /dev/disk/by-id/virtio-v0' | vdevil shell vdev-bitrot-mirror`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.shell(cmd.Context(), f, args[0]) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.arm, "arm", "", "the arm to prepare for (default: the first)")
	flags.StringVar(&f.version, "zfs", "", "OpenZFS `VERSION`: of image list, a revision of --source, or a checkout as ./DIR (default: the one that image list marks)")
	f.add(flags)
	return cmd
}

func (a *app) shell(ctx context.Context, f shellFlags, arg string) (err error) {
	s, err := f.scenario(arg)
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
	defer func() { err = errors.Join(err, l.Close()) }()
	vm, g, err := l.Guest(ctx, s, f.arm, f.version)
	view.close()
	if err != nil {
		return interrupted(ctx, err)
	}
	defer func() { err = errors.Join(err, g.Close(), vm.Close()) }()
	session, err := g.Session(ctx)
	if err != nil {
		return interrupted(ctx, err)
	}
	// A session that waits for a panicked guest would wait for ever.
	defer context.AfterFunc(ctx, func() { _ = vm.PowerOff() })()
	return interrupted(ctx, a.converse(session))
}

// scenario is the one to prepare, with an arm that it has.
func (f *shellFlags) scenario(arg string) (*scenarios.Scenario, error) {
	found, err := find([]string{arg})
	if err != nil {
		return nil, err
	}
	s := found[0]
	if f.arm == "" {
		f.arm = s.Arms[0].Name
	}
	if _, err := s.ForArm(f.arm); err != nil {
		return nil, usage(fmt.Errorf("--arm: %w", err))
	}
	if f.version == "" {
		return s, nil
	}
	return s, f.checkVersions(f.version)
}

// converse connects the streams with a shell: one to type in on a terminal, else one that reads a script.
func (a *app) converse(s *ssh.Session) error {
	// A shell is for what the user asks of the guest, and may draw on the terminal.
	s.Stdout, s.Stderr = unguarded(a.out), unguarded(a.err)
	// Not s.Stdin: Wait would then wait for the end of the input, too, or for one more key.
	in, err := s.StdinPipe()
	if err != nil {
		return err
	}
	fd, typed := terminal(a.in)
	if typed {
		restore, err := a.attach(s, fd)
		if err != nil {
			return err
		}
		defer restore()
		a.say("the guest is thrown away when this shell exits\r\n")
		err = s.Shell()
		if err != nil {
			return fmt.Errorf("start a shell: %w", err)
		}
	} else if err := s.Start("bash -s"); err != nil {
		return fmt.Errorf("start bash: %w", err)
	}
	go func() {
		_, _ = io.Copy(in, a.in) // ends with the session, or with the command
		in.Close()
	}()
	err = s.Wait()
	var exit *ssh.ExitError
	switch {
	case err == nil, typed && errors.As(err, &exit): // the status of the last command typed is nobody's business
		return nil
	case errors.As(err, &exit):
		return fmt.Errorf("the commands on stdin: %w", err)
	}
	return fmt.Errorf("the guest has ended: %w", err)
}

// attach gives the session a terminal like the user's, which passes every key on until restore is called.
func (a *app) attach(s *ssh.Session, fd int) (restore func(), err error) {
	kind := os.Getenv("TERM")
	if kind == "" {
		kind = "vt100"
	}
	width, height := size(fd)
	if err := s.RequestPty(kind, height, width, ssh.TerminalModes{}); err != nil {
		return nil, fmt.Errorf("ask for a terminal: %w", err)
	}
	state, err := term.MakeRaw(fd)
	if err != nil {
		return nil, fmt.Errorf("set up the terminal: %w", err)
	}
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	go func() {
		for range resized {
			width, height := size(fd)
			_ = s.WindowChange(height, width) // a session that has ended needs no size
		}
	}()
	return func() {
		signal.Stop(resized)
		close(resized)
		_ = term.Restore(fd, state)
	}, nil
}
