package bitmap

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/vdevil/vdevil/lab/report/browsertest"
)

// browser is a page of an atlas in a real browser.
type browser struct{ *browsertest.Browser }

// open shows a map.
func open(t *testing.T, m Map) *browser {
	t.Helper()
	var doc bytes.Buffer
	if err := HTML(&doc, m); err != nil {
		t.Fatal(err)
	}
	return &browser{browsertest.Open(t, doc.Bytes(), "")}
}

// eval is the value of a JavaScript expression.
func eval[T any](b *browser, expression string) T { return browsertest.Eval[T](b.Browser, expression) }

// details is the text of the details panel.
func (b *browser) details() string {
	return eval[string](b, `document.querySelector(".details").innerText`)
}

func TestHoverShowsDetails(t *testing.T) {
	b := open(t, dva())
	b.Wants("before", b.details(), "Point at a bit")
	section := eval[float64](b, `document.querySelector("section").getBoundingClientRect().y`)
	b.Hover("#b9")
	b.Wants("bit 9", b.details(), "Bit 9", "panic", "dva_word[0] ASIZE", "byte 0x001, bit 1 of it",
		"panic: a ZFS check fired", "range-tree-add-overlap@metaslab_free_concrete", "adding existent segment", "2.6 s", "--seed 42 --bits 9 --again")
	if moved := eval[float64](b, `document.querySelector("section").getBoundingClientRect().y`) - section; moved != 0 {
		t.Errorf("what is below the map moved by %v", moved)
	}
	b.Shoot("hover")
	b.Hover("#b81")
	b.Wants("hostile text", b.details(), "Bit 81", "</script><script>alert(1)</script>")
	b.Hover("h1")
	b.Wants("after", b.details(), "Point at a bit")
	if n := eval[int](b, `document.querySelectorAll("script, img").length`); n != 2 {
		t.Errorf("%d scripts and images, of the page's own there are 2", n)
	}
}

func TestKeyboard(t *testing.T) {
	b := open(t, dva())
	if n := eval[int](b, `document.querySelectorAll("#grid [tabindex='0']").length`); n != 1 {
		t.Errorf("%d cells are in the tab order, want 1", n)
	}
	b.Do(chromedp.Focus("#b63"))
	for _, step := range []struct{ key, want string }{
		{kb.ArrowRight, "b62"}, {kb.ArrowDown, "b126"}, {kb.ArrowDown, "b126"}, {kb.ArrowLeft, "b127"}, {kb.ArrowLeft, "b0"},
		{kb.ArrowUp, "b0"}, {kb.Home, "b63"}, {kb.PageDown, "b127"}, {kb.End, "b64"}, {kb.PageUp, "b0"}, {kb.ArrowRight, "b127"},
	} {
		b.Do(chromedp.KeyEvent(step.key))
		if got := b.Focused(); got != step.want {
			t.Fatalf("after %q the cursor is on %q, want %q", step.key, got, step.want)
		}
		b.Wants("details", b.details(), "Bit "+step.want[1:])
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
	b.Do(chromedp.KeyEvent(kb.Escape))
	b.Wants("after Escape", b.details(), "Point at a bit")
}

// A narrow window shows a word in two lines: down is then half a word on. Bits that the structure does not have are
// stepped over.
func TestKeyboardNarrow(t *testing.T) {
	b := open(t, partial())
	b.Do(chromedp.EmulateViewport(400, 800), chromedp.Focus("#b63"))
	for _, step := range []struct{ key, want string }{
		{kb.ArrowDown, "b31"}, {kb.ArrowDown, "b95"}, {kb.ArrowUp, "b31"}, {kb.End, "b0"}, {kb.ArrowRight, "b95"}, {kb.ArrowLeft, "b0"},
	} {
		b.Do(chromedp.KeyEvent(step.key))
		if got := b.Focused(); got != step.want {
			t.Fatalf("after %q the cursor is on %q, want %q", step.key, got, step.want)
		}
	}
	b.Wants("not run", b.details(), "Bit 0", "not run")
}

// The policy of the page forbids what escaping should have made impossible already.
func TestPolicy(t *testing.T) {
	b := open(t, dva())
	b.Closed()
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
	b.Do(chromedp.Focus(`[data-value="latent"]`), chromedp.KeyEvent(" "))
	want("latent", func(x Bit) bool { return x.Outcome == "latent" })
	b.Do(chromedp.Click(`[data-value="panic"]`))
	want("latent or panic", func(x Bit) bool { return x.Outcome == "latent" || x.Outcome == "panic" })
	b.Do(chromedp.Focus(`[data-value="dva_word[1] offset"]`), chromedp.KeyEvent(kb.Enter))
	want("those of the offset", func(x Bit) bool {
		return (x.Outcome == "latent" || x.Outcome == "panic") && x.Field == "dva_word[1] offset"
	})
	if text := eval[string](b, `document.getElementById("status").textContent`); !strings.HasSuffix(text, "of 128 bits shown") {
		t.Errorf("status %q", text)
	}
	b.Shoot("filter")
	b.Do(chromedp.KeyEvent(kb.Escape))
	want("all", func(Bit) bool { return true })
	b.Do(chromedp.Click(`[data-kind="signature"][data-value="avl-find@avl_add"]`))
	want("signature", func(x Bit) bool { return x.Signature == "avl-find@avl_add" })
	b.Do(chromedp.Click("#clear"))
	want("all again", func(Bit) bool { return true })
}

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
					b.Media(as.media, as.scheme, width)
					b.Do(chromedp.Focus("#b31"), chromedp.ScrollIntoView("#b31"))
					b.Readable(name, 60)
					for _, bad := range eval[[]string](b, askew) {
						t.Errorf("%s: %s", name, bad)
					}
					background[as.name] = eval[string](b, `getComputedStyle(document.body).backgroundColor`)
					b.Shoot(name)
				}
			}
			if background["dark"] == background["light"] || background["print"] != background["light"] {
				t.Errorf("backgrounds %v: dark must be its own, print light", background)
			}
			if eval[bool](b, `document.querySelector(".details").checkVisibility()`) {
				t.Error("the details panel, which needs a mouse, is printed")
			}
			b.PDF(m.name)
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
