// Package browsertest shows pages to tests in a real browser, and says what is wrong with them: requests that leave the page, complaints
// in its console, text that is hard to read, boxes that do not fit.
package browsertest

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/vdevil/vdevil/lab/host/hosttest"
)

var shots = flag.String("shots", "", "directory to leave screenshots in")

// Browser is a page in a real browser, and what went wrong in it.
type Browser struct {
	// URL is the page's.
	URL string

	may func(url string) bool // be asked for
	t   testing.TB
	ctx context.Context //nolint:containedctx // of the browser, which lives as long

	mu       sync.Mutex
	troubles []string
	requests []string
}

// Open shows a page at a place in it, such as #here, or empty. At the end of the test the page must have asked for nothing but itself and
// complained of nothing.
func Open(t testing.TB, page []byte, place string) *Browser {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page)
	}))
	t.Cleanup(server.Close)
	b := open(t, server.URL+"/", place)
	b.may = func(url string) bool { return url == b.URL }
	return b
}

// Visit shows the page of a server, at an address that ends in a slash. At the end of the test it must have asked for nothing but what
// that server has, and complained of nothing.
func Visit(t testing.TB, address string) *Browser {
	t.Helper()
	b := open(t, address, "")
	_, at, _ := strings.Cut(address, "://")
	at, _, _ = strings.Cut(at, "/")
	b.may = func(url string) bool {
		return strings.HasPrefix(url, "http://"+at+"/") || strings.HasPrefix(url, "ws://"+at+"/")
	}
	return b
}

func open(t testing.TB, address, place string) *Browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(hosttest.Chromium(t)), chromedp.NoSandbox)
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &Browser{URL: address, t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, b.heard); err != nil {
		t.Fatal(err)
	}
	b.Do(Call(network.Enable, network.EnableParams{}), Call(log.Enable, cdp.Empty{}), Call(runtime.Enable, cdp.Empty{}),
		chromedp.EmulateViewport(1280, 900), chromedp.Navigate(b.URL+place))
	t.Cleanup(b.complain)
	return b
}

func (b *Browser) complain() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, trouble := range b.troubles {
		b.t.Errorf("the page complains: %s", trouble)
	}
	for _, url := range b.requests {
		if !b.may(url) && !strings.HasPrefix(url, "data:") {
			b.t.Errorf("the page asked for %s", url)
		}
	}
	if len(b.requests) == 0 {
		b.t.Error("no request was seen, not even that for the page")
	}
}

func (b *Browser) heard(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	case *runtime.EventExceptionThrown:
		b.troubles = append(b.troubles, (&chromedp.ExceptionError{ExceptionDetails: e.ExceptionDetails}).Error())
	case *runtime.EventConsoleAPICalled:
		b.troubles = append(b.troubles, fmt.Sprintf("console.%s", e.Type))
	case *log.EventEntryAdded:
		b.troubles = append(b.troubles, e.Entry.Text)
	case *cdppage.EventJavascriptDialogOpening:
		b.troubles = append(b.troubles, "dialog: "+e.Message)
	}
}

// Forgive is what the page has complained of so far, which is forgotten with all requests but the first one.
func (b *Browser) Forgive() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	troubles := b.troubles
	b.troubles, b.requests = nil, b.requests[:1]
	return troubles
}

// Do does what a user or the browser does.
func (b *Browser) Do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// Call is a command of the DevTools protocol that answers nothing.
func Call[P any](command cdp.Command[P, cdp.Empty], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, command, params)
		return err
	})
}

// Get is what an action answers.
func Get[T any](b *Browser, action chromedp.Action[T]) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, action)
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

// Eval is the value of a JavaScript expression.
func Eval[T any](b *Browser, expression string) T {
	b.t.Helper()
	return Get(b, chromedp.Evaluate[T](expression))
}

// Await waits until a JavaScript expression is true, also while the browser goes from one page to another.
func (b *Browser) Await(expression string) {
	b.t.Helper()
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		limited, cancel := context.WithTimeout(b.ctx, 10*time.Second)
		var is bool
		is, err = chromedp.Run(limited, chromedp.Evaluate[bool]("!!("+expression+")"))
		cancel()
		if err == nil && is {
			return
		}
	}
	b.t.Fatalf("for a minute %s is not true: %v\n%s", expression, err, Eval[string](b, `document.body.innerText`))
}

// Hover moves the mouse over the middle of an element.
func (b *Browser) Hover(selector string) {
	b.t.Helper()
	at := Eval[[]float64](b, fmt.Sprintf(`(() => { const r = document.querySelector(%q).getBoundingClientRect();
		return [r.x + r.width / 2, r.y + r.height / 2] })()`, selector))
	b.Do(chromedp.MouseEvent(chromedp.MouseMoved, at[0], at[1]))
}

// Wants expects parts of a text.
func (b *Browser) Wants(what, text string, parts ...string) {
	b.t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			b.t.Errorf("%s: no %q in %q", what, p, text)
		}
	}
}

// Focused is the id of the element that has the focus.
func (b *Browser) Focused() string {
	b.t.Helper()
	return Eval[string](b, `document.activeElement.id`)
}

// Media shows the page on a screen or on paper, in a light or dark scheme, in a window of that width.
func (b *Browser) Media(media, scheme string, width int64) {
	b.t.Helper()
	features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}
	b.Do(chromedp.EmulateViewport(width, 900), Call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: media, Features: features}))
}

// Shoot leaves a screenshot, of the whole page and of the window, where the test was asked for them.
func (b *Browser) Shoot(name string) {
	b.t.Helper()
	if *shots == "" {
		return
	}
	b.save(name+".png", Get(b, chromedp.CaptureScreenshot()))
	b.save(name+"-full.png", Get(b, chromedp.FullScreenshot(100)))
}

// PDF leaves the page as it is printed.
func (b *Browser) PDF(name string) {
	b.t.Helper()
	if *shots == "" {
		return
	}
	b.save(name+".pdf", Get(b, chromedp.PrintToPDF(chromedp.PDFPrintBackground(), chromedp.PDFPreferCSSPageSize())))
}

func (b *Browser) save(name string, data []byte) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(*shots, name), data, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// Closed fails unless the page's policy keeps requests in, and handlers out that somebody wrote into it.
func (b *Browser) Closed() {
	b.t.Helper()
	const try = `fetch("/elsewhere").then(() => "sent", () => "refused")`
	if answer := Get(b, chromedp.Evaluate[string](try, chromedp.EvalAwaitPromise)); answer != "refused" {
		b.t.Errorf("a request was %s", answer)
	}
	b.Do(chromedp.Evaluate[chromedp.Void](`document.body.insertAdjacentHTML("beforeend", "<b onclick='window.ran = true' id=evil>x</b>"); evil.click()`))
	if Eval[bool](b, `window.ran === true`) {
		b.t.Error("an inline event handler ran")
	}
	if troubles := b.Forgive(); len(troubles) < 2 {
		b.t.Errorf("of two violations the browser reported %q", troubles)
	}
}
