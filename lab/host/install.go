package host

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
)

// InstallOptions say who may be asked and who is told.
type InstallOptions struct {
	// Yes installs without asking.
	Yes bool
	// YesBy is how to say Yes, for who was not asked; empty for --yes.
	YesBy string
	// Ask is the terminal to ask on; nil if there is none, and then only Yes installs.
	Ask io.Reader
	// Out gets the question and what apt-get prints.
	Out io.Writer
	// Lock is the directory of the lock that keeps parallel callers from meeting in dpkg.
	Lock string
}

// Install installs packages with apt-get, as root or through a sudo that asks for no password. Where that cannot be, or
// the user says no, the error is a *MissingError. Parallel callers wait for each other, and the second finds nothing left
// to do. Installing nothing succeeds.
func Install(ctx context.Context, missing []Package, o InstallOptions) error {
	return this().install(ctx, missing, o)
}

func (c *computer) install(ctx context.Context, missing []Package, o InstallOptions) error {
	if len(missing) == 0 {
		return nil
	}
	refuse := func(reason string) error {
		return &MissingError{Missing: missing, Apt: true, Reason: reason}
	}
	if _, err := c.program("apt-get"); err != nil {
		return &MissingError{Missing: missing}
	}
	sudo, ok := c.becomeRoot(ctx)
	if !ok {
		return refuse("The lab is not root and has no sudo without a password")
	}
	if !o.Yes {
		if o.Ask == nil {
			return refuse(fmt.Sprintf("Nobody is there to be asked, and %s was not given", cmp.Or(o.YesBy, "--yes")))
		}
		if !ask(missing, o) {
			return refuse("You said no")
		}
	}
	unlock, err := Lock(ctx, filepath.Join(o.Lock, "install.lock"), func(h Holder) {
		o.say("waiting for %s, which installs packages\n", h)
	})
	if err != nil {
		return fmt.Errorf("installing packages: %w", err)
	}
	defer unlock()
	missing = c.missingOf(missing)
	if len(missing) == 0 {
		return nil
	}
	if o.Yes {
		o.list(missing)
		o.say("installing them with apt-get\n")
	}
	// The package lists of a fresh machine are empty or old. A source that does not answer is no reason to stop: the
	// others may have all that is needed, and if not apt-get install says so.
	update := slices.Concat(sudo, []string{"apt-get", "update"})
	if err := c.run(ctx, o.Out, update...); err != nil {
		o.say("%s: %v; trying on\n", strings.Join(update, " "), err)
	}
	// Somebody else's apt or dpkg, an unattended upgrade say, may hold the system's own lock: -1 waits as long as it takes.
	argv := slices.Concat(sudo, []string{"apt-get", "install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=-1"},
		names(missing))
	if err := c.run(ctx, o.Out, argv...); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	if missing = c.missingOf(missing); len(missing) > 0 {
		return refuse("apt-get succeeded, but they are still not there")
	}
	return nil
}

// missingOf are those of ps that are still missing.
func (c *computer) missingOf(ps []Package) []Package {
	var out []Package
	for _, p := range ps {
		if !c.has(p) {
			out = append(out, p)
		}
	}
	return out
}

// becomeRoot is what to put before a command that only root may run.
func (c *computer) becomeRoot(ctx context.Context) (prefix []string, ok bool) {
	if c.uid == 0 {
		return nil, true
	}
	if _, err := c.program("sudo"); err != nil {
		return nil, false
	}
	if _, err := c.output(ctx, "sudo", "-n", "true"); err != nil {
		return nil, false
	}
	return []string{"sudo", "-n", "DEBIAN_FRONTEND=noninteractive"}, true
}

// say writes to Out. That it cannot be read is no reason to stop.
func (o InstallOptions) say(format string, args ...any) { _, _ = fmt.Fprintf(o.Out, format, args...) }

// list names packages, whether anybody is asked about them or not.
func (o InstallOptions) list(missing []Package) {
	o.say("this computer lacks what the lab needs:\n")
	for _, p := range missing {
		o.say("  %-22s %s\n", p.Name, p.Why)
	}
}

func ask(missing []Package, o InstallOptions) bool {
	o.list(missing)
	o.say("install them with apt-get? [Y/n] ")
	line, err := bufio.NewReader(o.Ask).ReadString('\n')
	if err != nil {
		return false
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "" || answer == "y" || answer == "yes"
}
