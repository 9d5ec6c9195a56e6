package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/golden"

	"github.com/vdevil/vdevil/lab/host/hosttest"
)

// tmux is a real terminal with a shell in it, in which the test program plays a story.
type tmux struct {
	*testing.T
	path, dir string
	orders    *os.File
}

// newTmux has a terminal of 80 columns, and an environment besides the usual.
func newTmux(t *testing.T, height int, env ...string) *tmux {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "vd") // short: t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	x := &tmux{T: t, path: hosttest.Program(t, "is a terminal that tests can look at", "tmux"), dir: dir}
	for name, text := range map[string]string{"console": "boot\n[   12.3] loaded\n\n", "before": "", "after": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	fifo := filepath.Join(dir, "orders")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if x.orders, err = os.OpenFile(fifo, os.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	set := []string{"env", "PS1=$ ", "PLAY=" + self, playing + "=orders", playing + "_CONSOLE=console", "LC_ALL=C.UTF-8", "NO_COLOR=", "STY=", "XTERM_VERSION=", "CI="}
	size := []string{"-x", "80", "-y", fmt.Sprint(height)}
	x.tmux(slices.Concat([]string{"-f", "/dev/null", "new-session", "-d", "-c", dir}, size, set, env, []string{"sh"})...)
	t.Cleanup(func() {
		_ = x.command("kill-server").Run() // it may have ended with its last window
		x.orders.Close()
		os.RemoveAll(dir)
	})
	x.shows("$")
	return x
}

func (x *tmux) tmux(args ...string) string {
	x.Helper()
	out, err := x.command(args...).CombinedOutput()
	if err != nil {
		x.Fatalf("tmux %s: %v\n%s", args, err, out)
	}
	return string(out)
}

func (x *tmux) command(args ...string) *exec.Cmd {
	cmd := exec.Command(x.path, append([]string{"-S", filepath.Join(x.dir, "tmux")}, args...)...)
	cmd.Env = append(os.Environ(), "TMUX=", "LC_ALL=C.UTF-8")
	return cmd
}

// keys presses some, by tmux's names; text types.
func (x *tmux) keys(names ...string) { x.Helper(); x.tmux(append([]string{"send-keys"}, names...)...) }

func (x *tmux) line(text string) { x.Helper(); x.tmux("send-keys", "-l", text); x.keys("Enter") }

func (x *tmux) resize(width, height int) {
	x.Helper()
	x.tmux("resize-window", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height))
}

// screen is what the terminal shows, with colours if they are asked for.
func (x *tmux) screen(colours ...string) string {
	x.Helper()
	lines := strings.Split(x.tmux(append([]string{"capture-pane", "-p"}, colours...)...), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n") + "\n"
}

// until waits.
func (x *tmux) until(what string, ok func() bool) {
	x.Helper()
	tick, limit := time.NewTicker(50*time.Millisecond), time.After(20*time.Second)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			x.Fatalf("%s, this is shown:\n%s", what, x.screen())
		}
	}
}

// shows waits for a text; lacks, until it is gone.
func (x *tmux) shows(text string) {
	x.Helper()
	x.until("waiting for "+text, func() bool { return strings.Contains(x.screen(), text) })
}

func (x *tmux) lacks(text string) {
	x.Helper()
	x.until("waiting for the end of "+text, func() bool { return !strings.Contains(x.screen(), text) })
}

// order has the player do something.
func (x *tmux) order(orders ...string) {
	x.Helper()
	for _, o := range orders {
		if _, err := x.orders.WriteString(o + "\n"); err != nil {
			x.Fatal(err)
		}
	}
}

// play begins the story, up to a trial that runs.
func (x *tmux) play() {
	x.Helper()
	x.begin("$PLAY")
	x.order("next 13", "wait 3s")
	x.shows("[   12.3] loaded")
}

// begin gives the shell a command, and has it say how that has ended.
func (x *tmux) begin(command string) {
	x.Helper()
	x.line(`clear; stty -a > before; ` + command + `; echo "status $?"`)
}

// golden waits until the screen is as it is to be.
func (x *tmux) golden(name string, colours ...string) {
	x.Helper()
	name = filepath.Join("terminal", name+".txt")
	last, since := "", time.Now()
	limit := time.After(20 * time.Second)
	for wait := time.NewTicker(100 * time.Millisecond); ; {
		now := x.screen(colours...)
		if now != last {
			last, since = now, time.Now()
		}
		want, _ := os.ReadFile(golden.Path(name))
		if !golden.FlagUpdate() && now == string(want) || golden.FlagUpdate() && time.Since(since) > 2*time.Second {
			break
		}
		select {
		case <-wait.C:
			continue
		case <-limit:
		}
		break
	}
	golden.Assert(x.T, last, name)
}

// sane expects the terminal to be as it was before, and nothing to run in it any more.
func (x *tmux) sane() {
	x.Helper()
	n := 0
	x.until("waiting for the terminal to be as before", func() bool {
		n++
		x.line("clear; stty -a > after; cmp before after && ps -o args= -t $(tty) > left && echo sa''ne" + fmt.Sprint(n))
		x.shows("$")
		sane := false
		x.until("waiting for a comparison", func() bool {
			s := x.screen()
			sane = strings.Contains(s, fmt.Sprintf("sane%d", n))
			return sane || strings.Contains(s, "differ")
		})
		return sane
	})
	left, err := os.ReadFile(filepath.Join(x.dir, "left"))
	if err != nil {
		x.Fatal(err)
	}
	if !regexp.MustCompile(`^sh\n(\[.*\] <defunct>\n)*ps .*\n$`).Match(left) { // not every container's first process waits for others' children
		x.Errorf("there is left:\n%s", left)
	}
	if state := x.tmux("display-message", "-p", "#{cursor_flag} #{alternate_on} #{mouse_any_flag} #{keypad_flag}"); state != "1 0 0 0\n" {
		x.Errorf("the terminal's cursor, screen, mouse and keypad are %s", state)
	}
}

// TestScreen looks at a campaign from its beginning to its end, while the window changes its size.
func TestScreen(t *testing.T) {
	x := newTmux(t, 24)
	x.play()
	x.golden("begun")
	x.keys("Down", "d")
	x.golden("details")
	x.keys("?")
	x.golden("help")
	x.keys("?")
	x.lacks("this help")
	x.resize(44, 24)
	x.golden("narrower")
	x.resize(20, 24)
	x.golden("narrow")
	x.resize(120, 24)
	x.golden("wide")
	x.resize(80, 5)
	x.golden("low")
	x.resize(20, 5)
	x.golden("narrow-and-low")
	x.resize(80, 24)
	x.shows("at most 12 more")
	x.order("next 6", "note a line that is longer than the window is wide, as that of a trial whose console's last words are in it, and \x1b[2J")
	x.golden("scrolled")
	x.order("next 3", "end")
	x.shows("status 0")
	x.golden("ended")
	x.sane()
}

// TestScreenColours has the same with colours, without, and in plain lines.
func TestScreenColours(t *testing.T) {
	for name, env := range map[string]string{"colours": "A=", "no-colour": "NO_COLOR=1", "plain": playing + "_PLAIN=1"} {
		t.Run(name, func(t *testing.T) {
			x := newTmux(t, 24, env)
			x.line("clear; $PLAY")
			x.order("next 16", "wait 3s")
			x.golden(name, "-e")
		})
	}
}

// byInterrupt is when the shell, too, takes it that it was interrupted, and goes on to nothing else.
const byInterrupt = 128 + int(syscall.SIGINT)

// TestScreenEnds ends a story in every state and in all ways.
func TestScreenEnds(t *testing.T) {
	inTrials := func(x *tmux) { x.play() }
	ctrlC := func(x *tmux) { x.keys("C-c") }
	for name, c := range map[string]struct {
		state  func(*tmux)
		end    func(*tmux)
		status int
		says   string
	}{
		"before there is news": {func(x *tmux) {
			x.begin("$PLAY")
			x.order("wait 0s") // the player is there
			x.shows("the time is")
		}, ctrlC, trouble, "results so far"},
		"while an image is built": {func(x *tmux) {
			x.begin("$PLAY")
			x.order("next 3")
			x.shows("step 2 of 2")
		}, ctrlC, trouble, "results so far"},
		"while a question is asked": {func(x *tmux) {
			inTrials(x)
			x.order("ask")
			x.shows("install? [Y/n]")
		}, ctrlC, trouble, "results so far"},
		"in trials":    {inTrials, ctrlC, trouble, "results so far"},
		"by q":         {inTrials, func(x *tmux) { x.keys("q") }, trouble, "results so far"},
		"with details": {func(x *tmux) { inTrials(x); x.keys("j", "d"); x.shows("at most 10 more") }, ctrlC, trouble, "results so far"},
		"with help":    {func(x *tmux) { inTrials(x); x.keys("?"); x.shows("this help") }, ctrlC, trouble, "results so far"},
		"after it was suspended": {func(x *tmux) {
			inTrials(x)
			x.keys("C-z")
			x.shows("Stopped")
			x.lacks("campaign tonight:")
			x.line(`stty -a > after; cmp before after && echo as be''fore; fg; echo "status $?"`)
			x.shows("as before")
			x.shows("campaign tonight:")
		}, ctrlC, trouble, "results so far"},
		"after another has stopped it": {func(x *tmux) {
			inTrials(x)
			x.kill("STOP")
			x.shows("Stopped")
			x.line(`clear; fg; echo "status $?"`)
			x.shows("PLAY}\ncampaign tonight:") // below what the shell has said, not the one from before
		}, ctrlC, trouble, "results so far"},
		"without keys": {func(x *tmux) {
			x.begin("$PLAY < /dev/null")
			x.order("next 13")
			x.shows("campaign tonight:")
			x.lacks("? help")
		}, ctrlC, trouble, "results so far"},
		"without stdin": {func(x *tmux) {
			x.begin("$PLAY <&-")
			x.order("next 13")
			x.shows("campaign tonight:")
			x.lacks("? help")
		}, ctrlC, trouble, "results so far"},
		"in the background": {func(x *tmux) {
			x.begin("$PLAY & wait $!")
			x.order("next 13")
			x.shows("] flip/1: started")
		}, func(x *tmux) { x.order("end") }, held, "results"},
		"while it is suspended": {func(x *tmux) {
			inTrials(x)
			x.keys("C-z")
			x.shows("Stopped")
		}, func(x *tmux) { x.line(`clear; kill -TERM %1; fg; echo "status $?"`) }, trouble, "results so far"},
		"twice": {func(x *tmux) {
			inTrials(x)
			x.order("deaf")
			x.shows("the guests do not end")
			x.keys("C-c")
			x.shows(", ending")
		}, ctrlC, byInterrupt, "^C\n$"},
		"by SIGTERM": {inTrials, func(x *tmux) { x.kill("TERM") }, trouble, "results so far"},
		"by SIGKILL": {inTrials, func(x *tmux) { x.kill("KILL") }, 128 + int(syscall.SIGKILL), "Killed"},
		"by a panic": {inTrials, func(x *tmux) { x.order("panic") }, 2, "panic: on purpose"},
		"well":       {inTrials, func(x *tmux) { x.order("end") }, held, "results"},
	} {
		t.Run(name, func(t *testing.T) {
			x := newTmux(t, 40)
			c.state(x)
			c.end(x)
			if c.status != byInterrupt {
				x.shows(fmt.Sprintf("status %d\n", c.status))
			}
			x.shows(c.says)
			x.sane()
		})
	}
}

// TestScreenGone expects a run to end, and with it what it has started, when its window is closed.
func TestScreenGone(t *testing.T) {
	x := newTmux(t, 24)
	x.play()
	if n := x.players(); n != 2 {
		t.Errorf("%d processes: there should be the player, and what guards the terminal", n)
	}
	x.tmux("kill-pane")
	tick, limit := time.NewTicker(50*time.Millisecond), time.After(20*time.Second)
	defer tick.Stop()
	for x.players() > 0 {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("it is still there")
		}
	}
}

// players counts the processes of the player in the test's directory.
func (x *tmux) players() (n int) {
	x.Helper()
	self, err := os.Executable()
	if err != nil {
		x.Fatal(err)
	}
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		x.Fatal(err)
	}
	for _, dir := range all { // those that have ended have no links any more
		program, _ := os.Readlink(filepath.Join(dir, "exe"))
		if at, _ := os.Readlink(filepath.Join(dir, "cwd")); at == x.dir && program == self {
			n++
		}
	}
	return n
}

// kill sends a signal to the player, by its name among the processes of the terminal.
func (x *tmux) kill(signal string) {
	x.Helper()
	tty := strings.TrimSpace(x.tmux("display-message", "-p", "#{pane_tty}"))
	self, err := os.Executable()
	if err != nil {
		x.Fatal(err)
	}
	out, err := exec.Command("sh", "-c", `ps -o pid=,args= -t "$0" | while read pid args; do test "$args" = "$1" && kill -$2 $pid; done; true`, tty, self, signal).CombinedOutput()
	if err != nil {
		x.Fatalf("%v: %s", err, out)
	}
}
