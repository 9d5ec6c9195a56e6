package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/ansi"
	"golang.org/x/sys/unix"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/printable"
)

// screen keeps a board up to date at the bottom of a terminal. What is finished stays above it and scrolls away. Those who tell it
// something never wait: one goroutine has to do with the terminal, which may be slow, or stand still.
type screen struct {
	tty *os.File
	in  io.Reader
	now func() time.Time
	// profile is given, as to find it out a program of the terminal would be asked.
	profile colorprofile.Profile

	mu     sync.Mutex
	board  board
	teller teller
	said   []string // to be left behind, and not on the terminal yet
	away   bool     // the picture is to be empty

	news    chan struct{}
	stops   chan struct{}
	asides  chan chan struct{}
	closing chan struct{}
	once    sync.Once
	closed  chan struct{}

	// What follows belongs to the goroutine.
	program *tea.Program  // that draws, nil for none
	ended   chan struct{} // closed when it has ended
	keys    *keyboard
	apart   bool // nothing is to be drawn before there is news
	over    bool // the context has ended: no more keys
	broken  bool // a program has ended that was not told to
}

// perSecond is how often the terminal is drawn at most.
const perSecond = 10

func newScreen(ctx context.Context, tty *os.File, in io.Reader, colour bool, now func() time.Time) *screen {
	s := &screen{
		tty: tty, in: in, now: now, profile: colorprofile.ASCII, board: board{colour: colour}, teller: teller{now: now}, news: make(chan struct{}, 1),
		stops: make(chan struct{}, 1), asides: make(chan chan struct{}), closing: make(chan struct{}), closed: make(chan struct{}), apart: true,
	}
	if colour {
		s.profile = colorprofile.ANSI
	}
	go s.run(ctx.Done())
	return s
}

// tell changes what is known, and has it shown.
func (s *screen) tell(change func(now time.Time) (stays string)) {
	s.mu.Lock()
	if text := change(s.now()); text != "" {
		s.said = append(s.said, text)
	}
	s.mu.Unlock()
	select {
	case s.news <- struct{}{}:
	default: // it will be seen with what was told before
	}
}

func (s *screen) progress(g lab.Progress) {
	s.tell(func(now time.Time) string { return s.board.progress(g, now) })
}

func (s *screen) event(e campaign.Event) {
	s.tell(func(now time.Time) string {
		s.board.event(e, now)
		if text, stays := s.teller.tell(e); stays {
			return text
		}
		return ""
	})
}

func (s *screen) note(text string) { s.tell(func(time.Time) string { return text }) }

func (s *screen) aside() {
	gone := make(chan struct{})
	select {
	case s.asides <- gone:
		<-gone
	case <-s.closed:
	}
}

func (s *screen) close() {
	s.once.Do(func() { close(s.closing) })
	<-s.closed
}

// run goes on until the screen is closed.
func (s *screen) run(over <-chan struct{}) {
	defer close(s.closed)
	goesOn := make(chan os.Signal, 1)
	signal.Notify(goesOn, unix.SIGCONT)
	defer signal.Stop(goesOn)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-s.news:
			s.apart = false
			s.show()
			s.leave()
		case <-tick.C:
			s.show() // it may have been in the background
			s.listen()
			s.redraw()
		case <-over:
			over = nil
			s.finish()
		case <-s.ended:
			s.keys.release()
			s.program, s.ended, s.keys, s.broken = nil, nil, nil, true
		case gone := <-s.asides:
			s.leave()
			s.hide()
			s.apart = true
			close(gone)
		case <-s.stops:
			s.hide()
			suspend(goesOn)
			s.show()
		case <-goesOn: // nobody has said that the process would stop
			s.abandon()
			s.show()
		case <-s.closing:
			s.leave()
			s.hide()
			return
		}
	}
}

// suspend stops this process, and those that are in the foreground with it, as a terminal's Ctrl-Z would have. It returns when it goes
// on. The kernel stops no process that nobody would let go on.
func suspend(goesOn <-chan os.Signal) {
	_ = unix.Kill(0, unix.SIGTSTP)
	select {
	case <-goesOn:
	case <-time.After(time.Second):
	}
}

// show draws the board, unless the terminal is somebody else's now.
func (s *screen) show() {
	if s.program != nil || s.apart || s.broken || !foreground(int(s.tty.Fd())) {
		return
	}
	if s.keys == nil && !s.over {
		s.keys = takeKeyboard(s.in, s.press)
	}
	s.mu.Lock()
	s.away, s.board.keys = false, s.keys != nil
	s.mu.Unlock()
	drawn := make(chan struct{})
	p := &paper{File: s.tty, screen: s, drawn: drawn}
	s.program = tea.NewProgram(picture{s, p}, tea.WithOutput(p), tea.WithInput(nil), tea.WithoutSignalHandler(),
		tea.WithFPS(perSecond), tea.WithColorProfile(s.profile))
	s.ended = make(chan struct{})
	go func(p *tea.Program, ended chan struct{}) {
		defer close(ended)
		_, _ = p.Run() // without a terminal the work goes on
	}(s.program, s.ended)
	select { // what is put above a picture needs one
	case <-drawn:
	case <-s.ended:
	}
}

// hide takes the board away, and gives the terminal back.
func (s *screen) hide() {
	s.keys.release()
	s.keys = nil
	if s.program == nil {
		return
	}
	s.mu.Lock()
	s.away = true
	s.mu.Unlock()
	s.program.Quit()
	<-s.ended
	s.program, s.ended = nil, nil
}

// abandon leaves the board where it is: somebody else has written below it since.
func (s *screen) abandon() {
	s.keys.release()
	s.keys = nil
	if s.program == nil {
		return
	}
	s.program.Kill()
	<-s.ended
	s.program, s.ended = nil, nil
}

// finish gives the keyboard back: Ctrl-C ends the process from now on, and the terminal must be in order then.
func (s *screen) finish() {
	s.over = true
	s.keys.release()
	s.keys = nil
	s.mu.Lock()
	s.board.ending, s.board.keys = true, false
	s.mu.Unlock()
	s.redraw()
}

// changed has the picture drawn again.
type changed struct{}

func (s *screen) redraw() {
	if s.program != nil {
		s.program.Send(changed{})
	}
}

// leave puts what is to stay above the picture.
func (s *screen) leave() {
	s.mu.Lock()
	lines := strings.Split(printable.Text(strings.Join(s.said, "\n")), "\n")
	if len(s.said) == 0 {
		lines = nil
	}
	s.said = nil
	s.mu.Unlock()
	for _, line := range lines {
		if s.program == nil {
			_, _ = fmt.Fprintln(s.tty, line)
			continue
		}
		width, _ := size(int(s.tty.Fd()))
		line = strings.ReplaceAll(line, "\t", "        ")
		for row := range strings.SplitSeq(ansi.Hardwrap(line, max(1, width-1), true), "\n") {
			s.program.Send(tea.Println(cmp.Or(row, " "))()) // it prints no line that is empty
		}
	}
	s.redraw()
}

func (s *screen) press(key string) {
	if key == stopKey {
		select {
		case s.stops <- struct{}{}:
		default: // it is about to
		}
		return
	}
	s.mu.Lock()
	quit := s.board.press(key)
	s.mu.Unlock()
	if quit {
		_ = unix.Kill(unix.Getpid(), unix.SIGINT)
	}
	s.note("")
}

// tail is how much of a console is read for its last line.
const tail = 1024

// listen reads what the guests said last.
func (s *screen) listen() {
	s.mu.Lock()
	running := make([]started, len(s.board.running))
	for i, one := range s.board.running {
		running[i] = *one
	}
	s.mu.Unlock()
	heard := map[string]string{}
	for _, one := range running {
		if one.console != "" {
			heard[one.id] = lastLine(one.console, one.from)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.board.running {
		if said := heard[one.id]; said != "" {
			one.said = said
		}
	}
}

// lastLine is the last line with something in it of a file, after an offset. What cannot be read says nothing: the trial may be over.
func lastLine(file string, from int64) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	buf := make([]byte, tail)
	n, _ := f.ReadAt(buf, max(from, info.Size()-tail))
	text := bytes.TrimSpace(buf[:max(0, n)])
	return string(bytes.TrimSpace(text[bytes.LastIndexByte(text, '\n')+1:]))
}

// picture is the board as bubbletea wants it.
type picture struct {
	screen *screen
	paper  *paper
}

// Init implements tea.Model.
func (picture) Init() tea.Cmd { return nil }

// Update implements tea.Model: all that can have changed is in the screen.
func (p picture) Update(tea.Msg) (tea.Model, tea.Cmd) { return p, nil }

// View implements tea.Model.
func (p picture) View() tea.View {
	s := p.screen
	s.mu.Lock()
	defer s.mu.Unlock()
	v := tea.View{DisableBracketedPasteMode: true}
	if s.away {
		return v
	}
	width, height := size(int(s.tty.Fd()))
	v.Content = s.board.view(width, height, s.now()) + "\n"
	p.paper.next = strings.Split(v.Content, "\n")
	// The cursor stays where a shell would go on, visible and in the shape that the user has chosen: a shape below the first is none.
	v.Cursor = &tea.Cursor{Position: tea.Position{Y: len(p.paper.next) - 1}, Shape: -1}
	return v
}

// paper is the terminal that a picture is drawn on. When it has become narrower, most terminals have broken the lines that are too
// long now, and the cursor is farther below the first one than bubbletea knows.
type paper struct {
	*os.File
	screen *screen
	drawn  chan struct{} // closed with the first picture
	once   sync.Once
	width  int
	lines  []string // of the picture that is there
	next   []string // of the one that comes; guarded by the screen
}

func (p *paper) Write(text []byte) (int, error) {
	width, _ := size(int(p.Fd()))
	up := ""
	if n := broken(p.lines, width); width < p.width && n > 0 && reflows() {
		up = fmt.Sprintf("\x1b[%dA", n)
	}
	p.screen.mu.Lock()
	p.width, p.lines = width, p.next
	p.screen.mu.Unlock()
	_, err := p.WriteString(up + string(text))
	p.once.Do(func() { close(p.drawn) }) // or there is no terminal any more
	return len(text), err
}

// broken is how many lines there are more when those that are too long are broken.
func broken(lines []string, width int) (n int) {
	for _, line := range lines {
		n += max(0, ansi.StringWidth(line)-1) / width
	}
	return n
}

// reflows says whether the terminal breaks lines when it becomes narrower. Xterm, the console of Linux and GNU screen cut them.
func reflows() bool {
	return os.Getenv("XTERM_VERSION") == "" && os.Getenv("TERM") != "linux" && os.Getenv("STY") == ""
}
