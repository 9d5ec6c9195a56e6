// Package host is the computer that the lab runs on: the lab's directories, locks between processes, the packages that
// the lab needs and the checks of `vdevil doctor`. It changes nothing but its own directories, except that Install adds
// Debian packages.
package host

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// computer is what the checks look at. Tests put a directory in place of the root file system.
type computer struct {
	root string   // prefix of all files looked at, "" for the real ones
	uid  int      // who asks
	user string   // their name, for /etc/subuid
	path []string // where programs are searched for
	// output runs a program and returns what it printed; run connects it to out.
	output func(ctx context.Context, argv ...string) ([]byte, error)
	run    func(ctx context.Context, out io.Writer, argv ...string) error
}

// this is the computer we run on.
func this() *computer {
	return &computer{
		uid:  os.Getuid(),
		user: userName(),
		path: searchPath(),
		output: func(ctx context.Context, argv ...string) ([]byte, error) {
			return exec.CommandContext(ctx, argv[0], argv[1:]...).Output()
		},
		run: func(ctx context.Context, out io.Writer, argv ...string) error {
			cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
			cmd.Stdout, cmd.Stderr = out, out
			cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
			return cmd.Run()
		},
	}
}

// searchPath is $PATH and the directories of system programs, which Debian leaves out of an ordinary user's $PATH.
func searchPath() []string {
	return append(filepath.SplitList(os.Getenv("PATH")), "/usr/local/sbin", "/usr/sbin", "/sbin")
}

// SearchPath is what $PATH must be for programs that find the system's programs by name.
func SearchPath() string { return strings.Join(searchPath(), string(os.PathListSeparator)) }

// Program finds a program in SearchPath. The error of one that is missing wraps exec.ErrNotFound and names the package.
func Program(name string) (string, error) { return this().program(name) }

// KVM says why guests cannot use it; nil if /dev/kvm opens for reading and writing, on a CPU with hardware virtualization.
func KVM() error { return this().openKVM() }

// openKVM says why KVM cannot be used. A device that opens is not enough: PVM offers /dev/kvm on CPUs without hardware
// virtualization, but runs only kernels built for it.
func (c *computer) openKVM() error {
	f, err := os.OpenFile(c.root+"/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	f.Close()
	info, err := os.ReadFile(c.root + "/proc/cpuinfo")
	if err != nil {
		return err
	}
	if !hardwareVirtualization.Match(info) {
		return errors.New("/dev/kvm opens, but the CPU has no hardware virtualization (no vmx or svm in /proc/cpuinfo)")
	}
	return nil
}

var hardwareVirtualization = regexp.MustCompile(`(?m)^flags\s*:.*\b(vmx|svm)\b`)

// executable says whether a file of the computer can be executed by us.
func (c *computer) executable(path string) bool {
	st, err := os.Stat(c.root + path)
	return err == nil && st.Mode().IsRegular() && unix.Access(c.root+path, unix.X_OK) == nil
}

func (c *computer) exists(path string) bool {
	_, err := os.Stat(c.root + path)
	return err == nil
}
