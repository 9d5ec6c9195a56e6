package serve

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/coder/websocket"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/report/browsertest"
	"github.com/vdevil/vdevil/lab/report/page"
	"github.com/vdevil/vdevil/lab/store"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

const hostile = "</script><script>window.ran = 1</script><img src=x onerror='window.ran = 2'>\x1b]0;x\x07\u202e"

// doing is a lab at work on blkptr-dva-flip, of which the test says what it does.
type doing struct {
	t       testing.TB
	session *store.Session
	id      string
	want    []campaign.Want
}

func begin(t testing.TB, s *store.Store, name string) *doing {
	t.Helper()
	found, err := scenarios.Find([]string{"blkptr-dva-flip"})
	if err != nil {
		t.Fatal(err)
	}
	q := &campaign.Questions{
		Asked: campaign.Ask(found), Images: []trial.Image{{ID: "image", OpenZFS: "2.3.2"}}, Driver: "qemu", Accel: "tcg", Seed: 7, Trials: 6, Fixed: true,
	}
	if err := q.Plan(); err != nil {
		t.Fatal(err)
	}
	c, err := s.Begin(t.Context(), store.NewCampaign(lab.KindRun, name, q, q, ""))
	if err != nil {
		t.Fatal(err)
	}
	session, err := s.Session(t.Context(), c.ID, trial.Environment{Version: "0.1.0", Driver: "qemu", Accel: "tcg", Host: "here"}, store.Errors{})
	if err != nil {
		t.Fatal(err)
	}
	want, _ := q.Next(nil)
	return &doing{t, session, c.ID, want}
}

// starts has a trial run whose guest prints to a file.
func (d *doing) starts(n int, console string) {
	d.t.Helper()
	if err := d.session.Began(d.t.Context(), d.want[n].Spec); err != nil {
		d.t.Fatal(err)
	}
	if err := d.session.Entered(d.t.Context(), d.want[n].Spec, console, int64(len(earlier))); err != nil {
		d.t.Fatal(err)
	}
}

// ends has it panic, or not where it is of the control arm.
func (d *doing) ends(n int) {
	d.t.Helper()
	w := d.want[n]
	r := trial.Result{Arm: w.Spec.Arm, Number: w.Spec.Number, Seed: w.Spec.Seed, Started: time.Now().UTC(), Seconds: 5, Outcome: trial.Masked, Repeat: w.Repeat}
	if r.Control = w.Spec.Arm == "no-flip"; !r.Control {
		r.Outcome, r.Signature, r.Text = trial.Panic, "range-tree-add-overlap@metaslab_free_concrete", "PANIC: zfs: adding existent segment"
	}
	if err := d.session.Put(d.t.Context(), w.ID, w.Spec, r); err != nil {
		d.t.Fatal(err)
	}
	if err := d.session.Left(d.t.Context(), w.Spec); err != nil {
		d.t.Fatal(err)
	}
}

const earlier = "of the trial before\n"

func console(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "console.log")
	if err := os.WriteFile(path, []byte(earlier+text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// served is a server of a store that others write to.
type served struct {
	*Server

	address string
	drawn   atomic.Int64 // pages
}

// opens gives a connection of its own: what it writes is news to the server.
func opens(t testing.TB, path string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func serves(t testing.TB, token string) (*served, string) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "vdevil.db")
	s := opens(t, path)
	sv := &served{}
	var err error
	sv.Server, err = New(context.WithoutCancel(t.Context()), Options{Store: s, Token: token, Page: func(ctx context.Context, c store.Campaign, _ bool) (page.Page, error) {
		sv.drawn.Add(1)
		return lab.Page(ctx, host.Dirs{State: dir}, s, []store.Campaign{c}, report.Comparison{})
	}})
	if err != nil {
		t.Fatal(err)
	}
	sv.quiet, sv.slow = time.Second, 5*time.Second
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- sv.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := sv.Close(); err != nil {
			t.Error(err)
		}
	})
	sv.address = fmt.Sprintf("http://%s/", l.Addr())
	return sv, path
}

// TestLate joins when half is done, and sees all of it; then what happens, without loading anything, and without losing the place.
func TestLate(t *testing.T) {
	sv, path := serves(t, "")
	d := begin(t, opens(t, path), "tonight "+hostile)
	d.ends(0)
	log := console(t, "[    1.0] booted\n[    2.0] "+hostile+"\n")
	d.starts(2, log)
	b := browsertest.Visit(t, sv.address+"run/"+d.id+"/")
	b.Wants("page", browsertest.Eval[string](b, `document.body.innerText`), "tonight </script>", "at work", "blkptr-dva-flip on OpenZFS 2.3.2", "booted",
		"</script><script>", "1/1", "At most 11 more trials, about 55.0s.")
	if text := browsertest.Eval[string](b, `document.getElementById("now").innerText`); strings.Contains(text, "trial before") || strings.ContainsAny(text, "\x1b\u202e") {
		t.Errorf("the console of another trial, or what steers a terminal, is shown: %q", text)
	}
	for _, width := range []int64{1280, 360} {
		b.Media("screen", "dark", width)
		b.Readable(fmt.Sprintf("%d wide", width), 30)
		b.Shoot(fmt.Sprintf("live-%d", width))
	}
	b.Do(chromedp.Evaluate[chromedp.Void](`here = document.querySelector("details.signature"); here.open = true; here.querySelector("summary").focus()`))
	if err := os.WriteFile(log, []byte(earlier+"[    3.0] loaded\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.Await(`document.getElementById("now").innerText.includes("loaded")`)
	d.ends(2)
	b.Await(`document.querySelector(".matrix td").innerText.includes("2/2")`)
	if !browsertest.Eval[bool](b, `here.isConnected && here.open && document.activeElement === here.querySelector("summary") && here.innerText.includes("2 trials")`) {
		t.Error("what was unfolded and had the focus is not as it was, or not up to date")
	}
	if browsertest.Eval[bool](b, `"ran" in window`) {
		t.Error("what a stranger wrote ran")
	}
	b.Do(chromedp.Click(chromedp.CSS(`[aria-label^="trials of arm flip"]`)))
	b.Await(`location.pathname.endsWith("/report") && document.getElementById("status")?.textContent === "2 of 2 trials"`)
}

// TestList shows a campaign that begins while it is looked at.
func TestList(t *testing.T) {
	sv, path := serves(t, "")
	b := browsertest.Visit(t, sv.address)
	b.Wants("page", browsertest.Eval[string](b, `document.body.innerText`), "No campaign was stored yet", "No lab of this computer is at work")
	s := opens(t, path)
	d := begin(t, s, "tonight")
	b.Await(`document.querySelector("td:last-child")?.innerText === "at work"`)
	b.Readable("list", 10)
	if err := d.session.End(t.Context(), store.Errors{}, fmt.Errorf("no space left")); err != nil {
		t.Fatal(err)
	}
	b.Await(`document.querySelector("td:last-child").innerText === "ended early: no space left"`)
	b.Do(chromedp.Click(chromedp.CSS(`th a`)))
	b.Await(`document.querySelector("h1")?.innerText === "tonight" && document.body.innerText.includes("vdevil resume tonight goes on")`)
}

// road leads to a server, until it is cut.
type road struct {
	net.Listener

	to   string
	mu   sync.Mutex
	cut  bool
	open []net.Conn
}

func (r *road) carry() {
	for {
		near, err := r.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", r.to)
		r.mu.Lock()
		if err != nil || r.cut {
			near.Close()
		} else {
			r.open = append(r.open, near, far)
			for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
				go func() {
					_, _ = io.Copy(way[0], way[1])
					way[0].Close()
				}()
			}
		}
		r.mu.Unlock()
	}
}

func (r *road) close(is bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = is
	for _, c := range r.open {
		c.Close()
	}
	r.open = nil
}

// TestAsleep takes the network away from a browser, and gives it back.
func TestAsleep(t *testing.T) {
	sv, path := serves(t, "")
	d := begin(t, opens(t, path), "tonight")
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &road{Listener: l, to: strings.Trim(strings.TrimPrefix(sv.address, "http:"), "/")}
	go r.carry()
	t.Cleanup(func() {
		l.Close()
		r.close(true)
	})
	b := browsertest.Visit(t, fmt.Sprintf("http://%s/run/%s/", l.Addr(), d.id))
	b.Await(`document.getElementById("now").innerText.includes("at work")`)
	r.close(true)
	b.Await(`document.getElementById("lost").innerText.includes("does not answer")`)
	d.ends(0)
	r.close(false)
	b.Await(`document.getElementById("lost").hidden && document.querySelector(".matrix td").innerText.includes("1/1")`)
	b.Forgive() // that there was no network
}

// message is what a browser is told.
type message struct{ Now, Told string }

// joins is a browser without a screen.
func joins(t testing.TB, address string) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), address+"events", nil) //nolint:bodyclose // there is none
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadLimit(1 << 24)
	t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

// TestMany has 50 look on at once, one of whom does not take what it is told. All others see the end, and it is drawn once for all.
func TestMany(t *testing.T) {
	sv, path := serves(t, "")
	d := begin(t, opens(t, path), "tonight")
	address := sv.address + "run/" + d.id + "/"
	joins(t, address) // and never reads
	var all sync.WaitGroup
	for range 50 {
		c := joins(t, address)
		all.Go(func() {
			for {
				_, text, err := c.Read(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				var m message
				if err := json.Unmarshal(text, &m); err != nil {
					t.Error(err)
					return
				}
				if strings.Contains(m.Told, ">6 of 6</a>") && strings.Contains(m.Told, ">0 of 6</a>") {
					return
				}
			}
		})
	}
	for n := range d.want {
		d.ends(n)
	}
	all.Wait()
	// Nobody reads any more, nor answers.
	f := sv.feeds[d.id]
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		f.mu.Lock()
		n := f.watchers
		f.mu.Unlock()
		if n == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d that sleep are told of news yet", n)
		}
	}
	if n := sv.drawn.Load(); n > 20 {
		t.Errorf("the page was drawn %d times", n)
	}
}

// dying is the variable by which the test is a lab that begins a campaign and waits to be killed.
const dying = "VDEVIL_TEST_DYING"

// TestKilled kills the lab that is looked at.
func TestKilled(t *testing.T) {
	if path := os.Getenv(dying); path != "" {
		d := begin(t, opens(t, path), "tonight")
		d.ends(0)
		d.starts(2, console(t, "[    1.0] booted\n"))
		fmt.Println(d.id)
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	sv, path := serves(t, "")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other := exec.CommandContext(t.Context(), self, "-test.run", "^TestKilled$")
	other.Env = append(os.Environ(), dying+"="+path)
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	id, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	b := browsertest.Visit(t, sv.address+"run/"+strings.TrimSpace(id)+"/")
	b.Await(`document.getElementById("now").innerText.includes("booted")`)
	all := browsertest.Visit(t, sv.address)
	all.Await(`document.querySelector("td:last-child").innerText === "at work"`)
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait() // it was killed
	b.Await(`document.getElementById("now").innerText.includes("killed") && document.getElementById("now").innerText.includes("vdevil resume tonight")`)
	all.Await(`document.querySelector("td:last-child").innerText.includes("killed")`)
	b.Wants("page", browsertest.Eval[string](b, `document.body.innerText`), "1/1")
	if browsertest.Eval[bool](b, `document.getElementById("now").innerText.includes("booted")`) {
		t.Error("a trial of a lab that was killed is said to run")
	}
}

// get is the status and the text of an answer.
func get(t testing.TB, c *http.Client, method, address string, change func(*http.Request)) (status int, text string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(r)
	}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func TestToken(t *testing.T) {
	sv, _ := serves(t, "right")
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Jar: jar}
	for _, try := range []struct {
		place  string
		status int
		says   string
	}{
		{"", 401, "a token is needed"}, {"events", 401, "a token is needed"}, {"run/x/report", 401, "a token is needed"},
		{"?token=wrong", 401, "the token is wrong"}, {"?token=", 401, "a token is needed"}, {"", 401, "a token is needed"},
		{"?token=right", 200, "No campaign"}, {"", 200, "No campaign"}, {"?token=wrong", 401, "the token is wrong"}, {"run/x/", 404, "vdevil runs"},
	} {
		if status, text := get(t, c, "GET", sv.address+try.place, nil); status != try.status || !strings.Contains(text, try.says) {
			t.Errorf("%q: %d %s", try.place, status, text)
		}
	}
}

// TestGuard expects what others could have a browser ask for to be refused.
func TestGuard(t *testing.T) {
	sv, path := serves(t, "")
	d := begin(t, opens(t, path), "tonight")
	host := func(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }
	for _, try := range []struct {
		method, place string
		change        func(*http.Request)
		status        int
	}{
		{"GET", "", host("evil.example"), 421}, {"GET", "", host("evil.example:80"), 421}, {"GET", "", host("10.0.0.1"), 421},
		{"GET", "", host("localhost:1"), 200}, {"GET", "", host("[::1]:1"), 200}, {"HEAD", "", nil, 200},
		{"POST", "", nil, 405}, {"DELETE", "run/" + d.id + "/", nil, 405}, {"GET", "elsewhere", nil, 404}, {"GET", "run/" + d.id + "/../../..", nil, 200},
		{"GET", "events", func(r *http.Request) {
			r.Header = http.Header{
				"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
				"Origin": {"http://evil.example"},
			}
		}, 403},
	} {
		if status, text := get(t, http.DefaultClient, try.method, sv.address+try.place, try.change); status != try.status {
			t.Errorf("%s %q: %d %s", try.method, try.place, status, text)
		}
	}
}

// TestLeftOfAtlas expects the time of what has no verdicts to be reckoned from all of its trials.
func TestLeftOfAtlas(t *testing.T) {
	c := store.Campaign{Trials: 10, Seconds: 50}
	if got, want := left(c, []report.Run{{Wanted: 4}}, 2), "At most 4 more trials, about 10.0s."; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := left(c, []report.Run{{}}, 2); got != "" {
		t.Errorf("of a bisection %q", got)
	}
}
