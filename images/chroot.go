package images

import (
	"bufio"
	"context"
	_ "embed"
	"fmt"

	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// chroot is one run of mmdebstrap, which makes a Debian system in a temporary directory, runs our scripts on it and throws it away,
// or of a script in a builder.
type chroot struct {
	name string   // for the log
	argv []string // the program and its arguments
	env  []string
	// dir is open as fd 3 in the scripts. It must stay the only one: mmdebstrap itself writes ">&N" into shell commands,
	// where N may have one digit.
	dir      *os.File
	first    string // the phase it begins with
	progress *progress
	log      *logFile
	// grace is what mmdebstrap may take to remove its tree after a signal, before it is killed and Clean has to.
	grace time.Duration
}

// guard runs a command in its own process group and ends that group when the lab dies: its standard input is a pipe that
// only the lab holds open. TERM lets mmdebstrap take its tree away. The trap comes after the fork: a signal between fork
// and exec would be lost on a child that has it.
const guard = `"$@" </dev/null &
child=$!
trap : TERM
exec 9<&0
{ cat <&9; trap '' TERM; kill -TERM 0; } >/dev/null 2>&1 &
watch=$!
while :; do wait $child; status=$?; kill -0 $child 2>/dev/null || break; done
kill -KILL $watch 2>/dev/null
exit $status`

// run runs mmdebstrap until it has ended, also when ctx ends first. None of its processes outlives it.
func (c *chroot) run(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", guard, "guard"}, c.argv...)...)
	cmd.Env = c.env
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{c.dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Getuid() == 0 {
		// As root mmdebstrap mounts /proc and more in the namespace it is in. In one of its own nothing stays mounted when it
		// is killed, and nothing that is deleted is somebody else's. As an ordinary user it makes one itself.
		cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = c.grace
	lines := &lineWriter{line: c.line}
	cmd.Stdout, cmd.Stderr = lines, lines
	life, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	defer life.Close()
	phase := c.first
	lines.step = func(id string) {
		c.progress.end(phase)
		phase = id
		c.progress.begin(id)
	}
	c.progress.begin(phase)
	if err := cmd.Start(); err != nil {
		return err
	}
	err = cmd.Wait()
	// The group's number is not given to a new process while one of its processes lives.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	lines.flush()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%s (%s): %w", filepath.Base(c.argv[0]), c.name, err)
	}
	c.progress.end(phase)
	return nil
}

func (c *chroot) line(s string) { c.log.write(c.name, s) }

// lineWriter cuts what mmdebstrap prints into lines and picks out what our scripts say to us.
type lineWriter struct {
	rest []byte
	line func(string)
	step func(id string)
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		line, rest, ok := strings.Cut(string(w.rest), "\n")
		if !ok {
			return len(p), nil
		}
		w.rest = []byte(rest)
		w.take(line)
	}
}

func (w *lineWriter) take(line string) {
	// dpkg and mmdebstrap show progress by overwriting: the last state is enough.
	if i := strings.LastIndexByte(strings.TrimRight(line, "\r"), '\r'); i >= 0 {
		line = line[i+1:]
	}
	line = strings.TrimRight(line, "\r ")
	if id, ok := strings.CutPrefix(line, "@step "); ok {
		w.step(id)
	}
	if line == "@wait" { // for the other chroot: that is no step's time
		w.step("wait")
	}
	w.line(line)
}

func (w *lineWriter) flush() {
	if len(w.rest) > 0 {
		w.take(string(w.rest))
		w.rest = nil
	}
}

// logFile is the log of a build. Two chroots write to it; each line says which.
type logFile struct {
	mu sync.Mutex
	f  *os.File
}

func (l *logFile) write(name, line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// A log that cannot be written is no reason to stop a build that can.
	_, _ = fmt.Fprintf(l.f, "%-6s | %s\n", name, line)
}

// tail are the last n lines of the log.
func tail(path string, n int) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	var last []string
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadString('\n')
		if line != "" {
			last = append(last, strings.TrimRight(line, "\n"))
		}
		if len(last) > n {
			last = last[1:]
		}
		if err != nil {
			return last
		}
	}
}
