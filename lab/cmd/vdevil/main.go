// Command vdevil asks a guest with OpenZFS what breaks it, and says how sure the answer is. It is a thin layer over
// package lab: arguments in, results on stdout, everything else on stderr.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/vdevil/vdevil/lab/printable"
)

func main() {
	if guarded() {
		return
	}
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	os.Exit(a.main(interruptible(), os.Args[1:]))
}

// interruptible ends with a signal: the first one ends the run cleanly, a second one kills at once.
func interruptible() context.Context {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop)
	return ctx
}

// app is the command with its three streams. While a command runs, what it writes to out and err is made printable: names from
// pools and consoles of guests are others' texts. terminal and unguarded give the streams themselves, for what steers a terminal.
type app struct {
	in       io.Reader
	out, err io.Writer
	// now is what views take the time from, nil for the clock.
	now func() time.Time
	// running is set when a command has been chosen and its arguments were found in order.
	running bool
}

// main runs one command and gives the exit status.
func (a *app) main(ctx context.Context, args []string) int {
	a.out, a.err = printable.NewWriter(a.out), printable.NewWriter(a.err)
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return held
	}
	a.say("vdevil: %s\n", strings.TrimSpace(err.Error()))
	code := status(err)
	if !a.running {
		a.say("see %s --help\n", cmd.CommandPath())
		code = misused
	}
	if git := (*gitError)(nil); slices.Contains(args, "--bisect") && !errors.As(err, &git) { // or git would take any trouble for a bad commit
		code = gitAbort
	}
	return code
}

// say tells the user something; there is nobody to tell that it cannot be told.
func (a *app) say(format string, args ...any) { _, _ = fmt.Fprintf(a.err, format, args...) }

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "vdevil",
		Short: "A fault-injection lab for OpenZFS",
		Long: `vdevil boots guests with OpenZFS, breaks them from the outside, and says which conditions reproduce which panic, and
how sure that is.

Results go to stdout, everything else to stderr. The exit status is
  0  every expectation held
  1  one did not
  2  wrong usage, or a scenario file with a mistake
  3  the lab could not do it, or was interrupted`,
		Example: `  vdevil run                      the default scenarios on the default OpenZFS version
  vdevil run snapshot-storm -h    what else run can do
  vdevil doctor                   is this computer ready?`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		PersistentPreRun:  func(*cobra.Command, []string) { a.running = true },
	}
	root.AddCommand(a.runCommand(), a.bisectCommand(), a.huntCommand(), a.minimizeCommand(), a.listCommand(), a.checkCommand(), a.doctorCommand(), a.imageCommand(), a.shellCommand(), a.gcCommand(),
		a.versionCommand(), a.runsCommand(), a.showCommand(), a.resumeCommand(), a.repeatCommand(), a.stepCommand(), a.rmCommand(), a.mergeCommand(), a.saveCommand(), a.compareCommand(), a.reportCommand(), a.serveCommand(),
		a.atlasCommand(), a.peekCommand(), a.crashCommand(), a.auditCommand(), a.forgeCommand())
	return root
}

// unguarded is a stream to which every byte goes as it is.
func unguarded(w io.Writer) io.Writer {
	if p, ok := w.(*printable.Writer); ok {
		return p.Unwrap()
	}
	return w
}

// terminal is the file descriptor of a stream that is a terminal.
func terminal(stream any) (fd int, ok bool) {
	if w, writes := stream.(io.Writer); writes {
		stream = unguarded(w)
	}
	f, ok := stream.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	return int(f.Fd()), true
}

// size is that of a terminal in characters; one that does not tell is taken for the smallest usual one.
func size(fd int) (width, height int) {
	width, height, err := term.GetSize(fd)
	if err != nil || width == 0 || height == 0 {
		return 80, 24
	}
	return width, height
}
