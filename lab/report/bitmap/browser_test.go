package bitmap

import (
	"bytes"
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

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/vdevil/vdevil/lab/host/hosttest"
)

var shots = flag.String("shots", "", "directory to leave screenshots in")

// browser is a page of an atlas in a real browser, and what went wrong in it.
type browser struct {
	t   *testing.T
	ctx context.Context //nolint:containedctx // of the browser, which lives as long

	mu       sync.Mutex
	troubles []string
	requests []string
}

// open shows a map. At the end of the test the page must have asked for nothing but itself and complained of nothing.
func open(t *testing.T, m Map) *browser {
	t.Helper()
	var doc bytes.Buffer
	if err := HTML(&doc, m); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(doc.Bytes())
	}))
	t.Cleanup(server.Close)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(hosttest.Chromium(t)), chromedp.NoSandbox)
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, b.heard); err != nil {
		t.Fatal(err)
	}
	b.do(call(network.Enable, network.EnableParams{}), call(log.Enable, cdp.Empty{}), call(runtime.Enable, cdp.Empty{}),
		chromedp.EmulateViewport(1280, 900), chromedp.Navigate(server.URL))
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, trouble := range b.troubles {
			t.Errorf("the page complains: %s", trouble)
		}
		for _, url := range b.requests {
			if url != server.URL+"/" && !strings.HasPrefix(url, "data:") {
				t.Errorf("the page asked for %s", url)
			}
		}
		if len(b.requests) == 0 {
			t.Error("no request was seen, not even that for the page")
		}
	})
	return b
}

func (b *browser) heard(event any) {
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

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// call is a command of the DevTools protocol that answers nothing.
func call[P any](command cdp.Command[P, cdp.Empty], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, command, params)
		return err
	})
}

// get is what an action answers.
func get[T any](b *browser, action chromedp.Action[T]) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, action)
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

// eval is the value of a JavaScript expression.
func eval[T any](b *browser, expression string) T {
	b.t.Helper()
	return get(b, chromedp.Evaluate[T](expression))
}

// details is the text of the details panel.
func (b *browser) details() string {
	b.t.Helper()
	return eval[string](b, `document.querySelector(".details").innerText`)
}

// hover moves the mouse over the middle of an element.
func (b *browser) hover(selector string) {
	b.t.Helper()
	at := eval[[]float64](b, fmt.Sprintf(`(() => { const r = document.querySelector(%q).getBoundingClientRect();
		return [r.x + r.width / 2, r.y + r.height / 2] })()`, selector))
	b.do(chromedp.MouseEvent(chromedp.MouseMoved, at[0], at[1]))
}

func (b *browser) wants(what, text string, parts ...string) {
	b.t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			b.t.Errorf("%s: no %q in %q", what, p, text)
		}
	}
}

// focused is the id of the element that has the focus.
func (b *browser) focused() string {
	b.t.Helper()
	return eval[string](b, `document.activeElement.id`)
}

func TestHoverShowsDetails(t *testing.T) {
	b := open(t, dva())
	b.wants("before", b.details(), "Point at a bit")
	section := eval[float64](b, `document.querySelector("section").getBoundingClientRect().y`)
	b.hover("#b9")
	b.wants("bit 9", b.details(), "Bit 9", "panic", "dva_word[0] ASIZE", "byte 0x001, bit 1 of it",
		"panic: a ZFS check fired", "range-tree-add-overlap@metaslab_free_concrete", "adding existent segment", "2.6 s", "--seed 42 --bits 9 --again")
	if moved := eval[float64](b, `document.querySelector("section").getBoundingClientRect().y`) - section; moved != 0 {
		t.Errorf("what is below the map moved by %v", moved)
	}
	b.shoot("hover")
	b.hover("#b81")
	b.wants("hostile text", b.details(), "Bit 81", "</script><script>alert(1)</script>")
	b.hover("h1")
	b.wants("after", b.details(), "Point at a bit")
	if n := eval[int](b, `document.querySelectorAll("script, img").length`); n != 2 {
		t.Errorf("%d scripts and images, of the page's own there are 2", n)
	}
}

func TestKeyboard(t *testing.T) {
	b := open(t, dva())
	if n := eval[int](b, `document.querySelectorAll("#grid [tabindex='0']").length`); n != 1 {
		t.Errorf("%d cells are in the tab order, want 1", n)
	}
	b.do(chromedp.Focus("#b63"))
	for _, step := range []struct{ key, want string }{
		{kb.ArrowRight, "b62"}, {kb.ArrowDown, "b126"}, {kb.ArrowDown, "b126"}, {kb.ArrowLeft, "b127"}, {kb.ArrowLeft, "b0"},
		{kb.ArrowUp, "b0"}, {kb.Home, "b63"}, {kb.PageDown, "b127"}, {kb.End, "b64"}, {kb.PageUp, "b0"}, {kb.ArrowRight, "b127"},
	} {
		b.do(chromedp.KeyEvent(step.key))
		if got := b.focused(); got != step.want {
			t.Fatalf("after %q the cursor is on %q, want %q", step.key, got, step.want)
		}
		b.wants("details", b.details(), "Bit "+step.want[1:])
	}
	if n := eval[int](b, `document.querySelectorAll("#grid [tabindex='0']").length`); n != 1 {
		t.Errorf("%d cells are in the tab order, want 1", n)
	}
	style := eval[string](b, `getComputedStyle(document.activeElement).outlineStyle + getComputedStyle(document.activeElement).outlineWidth`)
	if style != "solid2px" {
		t.Errorf("the outline of the focus is %q", style)
	}
	if label := eval[string](b, `document.activeElement.getAttribute("aria-label")`); label != "bit 127, dva_word[1] G, detected" {
		t.Errorf("label %q", label)
	}
	b.do(chromedp.KeyEvent(kb.Escape))
	b.wants("after Escape", b.details(), "Point at a bit")
}

// A narrow window shows a word in two lines: down is then half a word on. Bits that the structure does not have are
// stepped over.
func TestKeyboardNarrow(t *testing.T) {
	b := open(t, partial())
	b.do(chromedp.EmulateViewport(400, 800), chromedp.Focus("#b63"))
	for _, step := range []struct{ key, want string }{
		{kb.ArrowDown, "b31"}, {kb.ArrowDown, "b95"}, {kb.ArrowUp, "b31"}, {kb.End, "b0"}, {kb.ArrowRight, "b95"}, {kb.ArrowLeft, "b0"},
	} {
		b.do(chromedp.KeyEvent(step.key))
		if got := b.focused(); got != step.want {
			t.Fatalf("after %q the cursor is on %q, want %q", step.key, got, step.want)
		}
	}
	b.wants("not run", b.details(), "Bit 0", "not run")
}

// The policy of the page forbids what escaping should have made impossible already.
func TestPolicy(t *testing.T) {
	b := open(t, dva())
	const try = `fetch("/elsewhere").then(() => "sent", () => "refused")`
	if answer := get(b, chromedp.Evaluate[string](try, chromedp.EvalAwaitPromise)); answer != "refused" {
		t.Errorf("a request was %s", answer)
	}
	b.do(chromedp.Evaluate[chromedp.Void](`document.body.insertAdjacentHTML("beforeend", "<b onclick='window.ran = true' id=evil>x</b>"); evil.click()`))
	if eval[bool](b, `window.ran === true`) {
		t.Error("an inline event handler ran")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.troubles) < 2 {
		t.Errorf("of two violations the browser reported %q", b.troubles)
	}
	b.troubles, b.requests = nil, b.requests[:1]
}

func TestFilter(t *testing.T) {
	b := open(t, dva())
	left := func() []int {
		return eval[[]int](b, `[...document.querySelectorAll("#grid b[id]:not(.out)")].map((c) => Number(c.id.slice(1))).sort((a, b) => a - b)`)
	}
	want := func(what string, ok func(Bit) bool) {
		t.Helper()
		var bits []int
		for _, x := range dva().Bits {
			if ok(x) {
				bits = append(bits, x.Bit)
			}
		}
		if got := left(); fmt.Sprint(got) != fmt.Sprint(bits) || len(bits) == 0 {
			t.Errorf("%s: shown are bits %v, want %v", what, got, bits)
		}
	}
	b.do(chromedp.Focus(`[data-value="latent"]`), chromedp.KeyEvent(" "))
	want("latent", func(x Bit) bool { return x.Outcome == "latent" })
	b.do(chromedp.Click(`[data-value="panic"]`))
	want("latent or panic", func(x Bit) bool { return x.Outcome == "latent" || x.Outcome == "panic" })
	b.do(chromedp.Focus(`[data-value="dva_word[1] offset"]`), chromedp.KeyEvent(kb.Enter))
	want("those of the offset", func(x Bit) bool {
		return (x.Outcome == "latent" || x.Outcome == "panic") && x.Field == "dva_word[1] offset"
	})
	if text := eval[string](b, `document.getElementById("status").textContent`); !strings.HasSuffix(text, "of 128 bits shown") {
		t.Errorf("status %q", text)
	}
	b.shoot("filter")
	b.do(chromedp.KeyEvent(kb.Escape))
	want("all", func(Bit) bool { return true })
	b.do(chromedp.Click(`[data-kind="signature"][data-value="avl-find@avl_add"]`))
	want("signature", func(x Bit) bool { return x.Signature == "avl-find@avl_add" })
	b.do(chromedp.Click("#clear"))
	want("all again", func(Bit) bool { return true })
}

// unreadable lists texts whose contrast with what is behind them is below 4.5:1 (WCAG 2.2, 1.4.3), hidden ones aside.
const unreadable = `(() => {
	const parse = (c) => c.match(/[\d.]+/g).map(Number);
	const light = (c) => c.slice(0, 3).map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
		.reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
	const behind = (e) => {
		for (; e; e = e.parentElement) {
			const c = parse(getComputedStyle(e).backgroundColor);
			if (c.length === 3 || c[3] === 1) return c;
			if (c[3] !== 0) throw new Error("half transparent");
		}
		return [255, 255, 255];
	};
	const seen = new Map();
	const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	let texts = 0;
	while (walk.nextNode()) {
		const e = walk.currentNode.parentElement;
		if (!walk.currentNode.data.trim() || !e.checkVisibility({ visibilityProperty: true }) || e.tagName === "SCRIPT") continue;
		const ink = parse(getComputedStyle(e).color);
		if (ink.length === 4 && ink[3] === 0) continue;
		texts++;
		const [a, b] = [light(ink), light(behind(e))];
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (ratio < 4.5) seen.set(e.tagName + "." + e.className + " " + ratio.toFixed(2), walk.currentNode.data.trim().slice(0, 30));
	}
	if (texts < 60) throw new Error("only " + texts + " texts");
	return [...seen].map(String);
})()`

// overflowing lists what reaches beyond the right edge of the window, or is wider than the box that it is in.
const overflowing = `(() => {
	const out = [];
	const root = document.documentElement;
	if (root.scrollWidth > root.clientWidth) out.push("page: " + root.scrollWidth + " > " + root.clientWidth);
	for (const e of document.body.querySelectorAll("*")) {
		if (e.getBoundingClientRect().right > root.clientWidth + 0.5) out.push(e.tagName + "." + e.className + " " + e.textContent.slice(0, 30));
		const style = getComputedStyle(e);
		if (style.display !== "inline" && style.overflowX === "visible" && e.clientWidth && e.scrollWidth > e.clientWidth + 1) {
			out.push(e.tagName + "." + e.className + ": " + e.scrollWidth + " > " + e.clientWidth);
		}
	}
	return out;
})()`

func TestReadable(t *testing.T) {
	maps := []struct {
		name string
		make func() Map
	}{{"dva", dva}, {"dnode", dnode}, {"partial", partial}}
	media := []struct {
		name, media, scheme string
	}{{"light", "screen", "light"}, {"dark", "screen", "dark"}, {"print", "print", "dark"}}
	for _, m := range maps {
		t.Run(m.name, func(t *testing.T) {
			b := open(t, m.make())
			background := map[string]string{}
			for _, as := range media {
				for _, width := range []int64{1280, 400} {
					name := fmt.Sprintf("%s-%s-%d", m.name, as.name, width)
					scheme := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: as.scheme}}
					b.do(chromedp.EmulateViewport(width, 900), call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: as.media, Features: scheme}),
						chromedp.Focus("#b31"), chromedp.ScrollIntoView("#b31"))
					for _, bad := range eval[[]string](b, unreadable) {
						t.Errorf("%s: low contrast: %s", name, bad)
					}
					for _, bad := range eval[[]string](b, overflowing) {
						t.Errorf("%s: beyond the edge: %s", name, bad)
					}
					for _, bad := range eval[[]string](b, askew) {
						t.Errorf("%s: %s", name, bad)
					}
					background[as.name] = eval[string](b, `getComputedStyle(document.body).backgroundColor`)
					b.shoot(name)
				}
			}
			if background["dark"] == background["light"] || background["print"] != background["light"] {
				t.Errorf("backgrounds %v: dark must be its own, print light", background)
			}
			if eval[bool](b, `document.querySelector(".details").checkVisibility()`) {
				t.Error("the details panel, which needs a mouse, is printed")
			}
			b.pdf(m.name)
		})
	}
}

// askew lists cells that do not stand below those of the row above.
const askew = `(() => {
	const columns = [...document.querySelectorAll("#grid .half b")].map((b, i) => [i % 64, b.getBoundingClientRect().x, b]);
	const want = columns.slice(0, 64).map((c) => c[1]);
	const out = columns.filter(([i, x]) => Math.abs(x - want[i]) > 0.1).map(([, , b]) => b.id + " stands beside its column");
	for (const h of document.querySelectorAll("#grid .half")) {
		if (new Set([...h.querySelectorAll("b")].map((b) => b.offsetTop)).size > 1) out.push("a half at " + h.offsetTop + " is broken");
	}
	return out;
})()`

// shoot leaves a screenshot, of the whole page and of the window.
func (b *browser) shoot(name string) {
	b.t.Helper()
	if *shots == "" {
		return
	}
	b.save(name+".png", get(b, chromedp.CaptureScreenshot()))
	b.save(name+"-full.png", get(b, chromedp.FullScreenshot(100)))
}

func (b *browser) pdf(name string) {
	b.t.Helper()
	if *shots == "" {
		return
	}
	b.save(name+".pdf", get(b, chromedp.PrintToPDF(chromedp.PDFPrintBackground(), chromedp.PDFPreferCSSPageSize())))
}

func (b *browser) save(name string, data []byte) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(*shots, name), data, 0o644); err != nil {
		b.t.Fatal(err)
	}
}
