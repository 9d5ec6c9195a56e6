package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/printable"
	"github.com/vdevil/vdevil/lab/report"
)

// playing names the variable that makes the test program a player of stories: it has the FIFO that the player reads its orders from.
const playing = "VDEVIL_TEST_PLAY"

func TestMain(m *testing.M) {
	if guarded() {
		return
	}
	if fifo := os.Getenv(playing); fifo != "" {
		os.Exit(play(interruptible(), fifo))
	}
	os.Exit(m.Run())
}

// player plays a story to a view, as a command would that has a lab.
type player struct {
	ctx   context.Context //nolint:containedctx // as a command has it
	app   *app
	view  observer
	story []any

	mu sync.Mutex
	t  time.Time
}

func (p *player) now() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.t
}

// play does what a command does with a context and a view. It ends with the orders, or with the context.
func play(ctx context.Context, fifo string) int {
	p := &player{ctx: ctx, story: runStory(os.Getenv(playing + "_CONSOLE")), t: time.Unix(0, 0)}
	p.app = &app{in: os.Stdin, out: printable.NewWriter(os.Stdout), err: printable.NewWriter(os.Stderr), now: p.now}
	p.view = p.app.observer(ctx, os.Getenv(playing+"_PLAIN") != "")
	orders := make(chan string)
	go func() {
		defer close(orders)
		f, err := os.OpenFile(fifo, os.O_RDWR, 0) // not ended by a writer that closes it
		if err != nil {
			panic(err)
		}
		for s := bufio.NewScanner(f); s.Scan(); {
			orders <- s.Text()
		}
	}()
	over := ctx.Done()
	for {
		select {
		case <-over:
			p.view.note("the guests are ended")
			p.view.close()
			fmt.Fprintln(p.app.out, "results so far")
			return trouble
		case order := <-orders:
			if order == "deaf" { // as one whose guests do not end
				over = nil
				p.view.note("the guests do not end")
			} else if !p.obey(order) {
				p.view.close()
				fmt.Fprintln(p.app.out, "results")
				return held
			}
		}
	}
}

// obey says whether the story goes on.
func (p *player) obey(order string) bool {
	word, rest, _ := strings.Cut(order, " ")
	switch word {
	case "next": // pieces of the story, so many
		var n int
		fmt.Sscan(rest, &n)
		for range n {
			tell(p.view, p.story[0])
			p.story = p.story[1:]
		}
	case "wait":
		d, err := time.ParseDuration(rest)
		if err != nil {
			panic(err)
		}
		p.mu.Lock()
		p.t = p.t.Add(d)
		p.mu.Unlock()
		p.view.note("the time is " + report.Clock(time.Duration(p.now().UnixNano())))
	case "note":
		p.view.note(rest)
	case "ask":
		p.view.aside()
		fmt.Fprint(p.app.err, "install? [Y/n] ")
		answer := make([]byte, 10)
		n, _ := (&answers{p.ctx, p.app.in}).Read(answer)
		p.view.note(fmt.Sprintf("answered %q", answer[:n]))
	case "panic":
		go panic("on purpose")
	case "end":
		return false
	}
	return true
}
