package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vdevil/vdevil/lab/campaign"
)

// newLine is a terminal without a shell, and the other end of its line.
func newLine(t *testing.T) (tty, end *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	end = os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { end.Close() })
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80})
	}
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return tty, end
}

// arrived is what has come over a line.
type arrived struct {
	mu   sync.Mutex
	text strings.Builder
}

func (a *arrived) from(end io.Reader) {
	buf := make([]byte, 4096)
	for {
		n, err := end.Read(buf)
		a.mu.Lock()
		a.text.Write(buf[:n])
		a.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (a *arrived) String() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.text.String()
}

// wait returns what has come when there is a text in it.
func (a *arrived) wait(t *testing.T, text string) string {
	t.Helper()
	tick, limit := time.NewTicker(10*time.Millisecond), time.After(20*time.Second)
	defer tick.Stop()
	for {
		if s := a.String(); strings.Contains(s, text) {
			return s
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%q has not come: %q", text, a.String())
		}
	}
}

// frames is how often a picture was drawn.
func frames(text string) int { return strings.Count(text, "\x1b[?25h") }

// TestSlowLine expects nobody to wait for a terminal that stands still, as nobody reads from this one before all is told, and little
// to be written to one that is slow.
func TestSlowLine(t *testing.T) {
	tty, end := newLine(t)
	start := time.Now()
	s := newScreen(context.Background(), tty, strings.NewReader(""), true, func() time.Time { return start })
	for _, e := range until() {
		tell(s, e)
	}
	for i := range 2000 { // more than any buffer has room for, if each were drawn
		s.event(campaign.Started{Spec: spec("flip", 100+i%10)})
		s.event(campaign.Dropped{Spec: spec("flip", 100+i%10)})
	}
	s.note(strings.Repeat("long ", 20000)) // more than a line takes that nobody reads
	s.note("the last word")
	a := &arrived{}
	go a.from(end)
	a.wait(t, "the last word")
	took := time.Since(start)
	if n := frames(a.String()); n > 5+int(took.Seconds()*perSecond) {
		t.Errorf("%d pictures in %v", n, took)
	}
	// Where nothing changes nothing is written, though the clock ticks.
	s.note("now")
	before := len(a.wait(t, "now"))
	tick := time.NewTimer(3 * time.Second)
	<-tick.C
	if more := len(a.String()) - before; more > 300 {
		t.Errorf("%d bytes more: %q", more, a.String()[before:])
	}
	s.close()
}

// TestLineEnds expects a view to end that has lost its terminal.
func TestLineEnds(t *testing.T) {
	tty, end := newLine(t)
	s := newScreen(context.Background(), tty, tty, true, time.Now)
	s.note("begun")
	a := &arrived{}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		a.from(end)
	}()
	a.wait(t, "begun")
	end.Close()
	<-gone
	s.note("into nothing")
	s.close()
	s.note("too late")
	s.aside()
	s.close()
}
