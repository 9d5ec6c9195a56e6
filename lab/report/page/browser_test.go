package page

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/vdevil/vdevil/lab/report/browsertest"
)

// browser is a page in a real browser.
type browser struct{ *browsertest.Browser }

func open(t testing.TB, p Page, place string) *browser {
	t.Helper()
	return &browser{browsertest.Open(t, []byte(written(t, p)), place)}
}

func eval[T any](b *browser, expression string) T { return browsertest.Eval[T](b.Browser, expression) }

// until waits for what an event of the browser brings.
func (b *browser) until(condition string) {
	b.Do(chromedp.Poll[chromedp.Void](condition))
}

// click and focus take a selector. For a plain string chromedp searches the text of the page, its styles included.
func click(selector string) chromedp.Action[chromedp.Void] {
	return chromedp.Click(chromedp.CSS(selector))
}

func focus(selector string) chromedp.Action[chromedp.Void] {
	return chromedp.Focus(chromedp.CSS(selector))
}

// follow presses Enter on a link to a place in the page, and waits until the page's script has followed: the browser moves the focus
// before that.
func (b *browser) follow() {
	b.Do(chromedp.Evaluate[chromedp.Void](`followed = false; addEventListener("hashchange", () => { followed = true }, { once: true })`))
	b.Do(chromedp.KeyEvent(kb.Enter))
	b.until(`followed`)
}

func (b *browser) text(selector string) string {
	return eval[string](b, fmt.Sprintf(`document.querySelector(%q).innerText`, selector))
}

func (b *browser) status() string { return b.text("#status") }

func (b *browser) hash() string { return eval[string](b, `location.hash`) }

func (b *browser) rows() int {
	return eval[int](b, `document.querySelectorAll("#list tbody tr").length`)
}

const first = "#blkptr-dva-flip-0/2.3.2/flip/1"

// From a verdict to its arms, to the trials of one, to one of them, and back the same way.
func TestWay(t *testing.T) {
	b := open(t, full(), "")
	if got, want := eval[int](b, `document.querySelectorAll(".matrix tbody td a").length`), 15; got != want {
		t.Errorf("the matrix has %d cells, want %d", got, want)
	}
	b.Wants("cell", b.text(".matrix tbody td a"), "reproduces", "as expected", "9/10, 90.0 %", "55.5 to 99.7 %", "control 0/10")
	b.Do(click(".matrix tbody td a"))
	b.until(`location.hash === "#blkptr-dva-flip-0/2.3.2" && document.activeElement.id === "blkptr-dva-flip-0/2.3.2"`)
	b.Do(click(`[aria-label^="trials of arm flip"]`))
	b.until(`document.getElementById("status").textContent === "10 of 454 trials"`)
	if got := b.rows(); got != 10 {
		t.Errorf("%d trials are listed, want 10", got)
	}
	b.Do(click(`#list tbody tr:first-child a`))
	b.until(`document.activeElement.id === "name"`)
	if got := b.hash(); got != first {
		t.Errorf("the address is %s, want %s", got, first)
	}
	b.Wants("title", b.text("#name"), "blkptr-dva-flip-0 on OpenZFS 2.3.2, flip/1")
	b.Wants("trial", b.text("#about"), "panic: a ZFS check fired", overlap, "blkptr-dva-flip, 1 bit changed", "zio_free_sync(bp)->blk_dva[0].dva_word[1] bit 9",
		"bit 1 of byte 1", "401a2c0000000000", "40182c0000000000", "thread txg_sync, PID 1187", "zio_free_sync+0x4d/0x1f0 [zfs]", "Console, line 61",
		"vdevil 0.1.0, qemu KVM, linux/amd64", "vdevil run blkptr-dva-flip-0 --zfs 2.3.2 --seed 7 --only flip/1", "workload")
	if marked := eval[[]string](b, `[...document.querySelectorAll("#about mark")].map((e) => e.textContent)`); len(marked) != 2 ||
		!strings.Contains(marked[1], "adding existent segment") || !strings.HasPrefix(marked[1], "[   61.") || strings.Contains(marked[1], "Started a unit") {
		t.Errorf("marked is %q", marked)
	}
	b.Shoot("trial")
	b.Do(click("#after"))
	b.until(`document.getElementById("name").textContent.endsWith("flip/2")`)
	for _, want := range []string{first, "#trials?scenario=blkptr-dva-flip-0&version=2.3.2&arm=flip", "#blkptr-dva-flip-0/2.3.2", ""} {
		b.Do(chromedp.Evaluate[chromedp.Void](`history.back()`))
		b.until(fmt.Sprintf(`location.hash === %q`, want))
		switch {
		case want == first:
			b.until(`document.getElementById("name").textContent.endsWith("flip/1")`)
		case strings.HasPrefix(want, "#trials"):
			b.until(`document.getElementById("trial").hidden`)
			if got := b.status(); got != "10 of 454 trials" {
				t.Errorf("back in the list the status is %q", got)
			}
			if got := eval[string](b, `document.activeElement.getAttribute("href")`); got != first {
				t.Errorf("back in the list the focus is on %q, want the trial", got)
			}
		}
	}
}

// Places in the page are the same in the address, whoever wrote it, and survive a reload.
func TestDeepLinks(t *testing.T) {
	b := open(t, full(), first)
	b.until(`document.activeElement.id === "name"`)
	b.Wants("title", b.text("#name"), "blkptr-dva-flip-0 on OpenZFS 2.3.2, flip/1")
	b.Do(chromedp.Reload())
	b.until(`document.activeElement.id === "name"`)
	for _, c := range []struct{ hash, shows string }{
		{"#blkptr-dva-flip-0/2.3.2/flip", `document.activeElement.id === "blkptr-dva-flip-0/2.3.2/flip" && document.getElementById("trial").hidden`},
		{"#blkptr%2ddva-flip-0/2.3.2/flip/3", `document.getElementById("name").textContent.endsWith("flip/3")`},
		{"#blkptr-dva-flip-0/2.3.2/flip/99", `document.getElementById("about").textContent.includes("vdevil show nightly/blkptr-dva-flip-0")`},
		{"#crash-storm/2.3.2%20power%20cut/storm/3", `document.getElementById("about").textContent.includes("cannot import 'tank'")`},
		{"#trials?outcome=latent&text=far", `/^\d+ of 454 trials$/.test(document.getElementById("status").textContent) && document.getElementById("text").value === "far"`},
		{"#signatures", `document.activeElement.id === "signatures"`},
		{"#%", `true`},
	} {
		b.Do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`location.hash = %q`, c.hash)))
		b.until(c.shows)
	}
}

func TestFilter(t *testing.T) {
	p := full()
	b := open(t, p, "")
	count := func(ok func(cell, arm, outcome, signature string) bool) string {
		n := 0
		for _, c := range p.Cells() {
			for _, a := range c.Summary.Arms {
				for _, r := range a.Results {
					if ok(c.Summary.Scenario+" "+c.Column, a.Name, string(r.Outcome), r.Signature) {
						n++
					}
				}
			}
		}
		return fmt.Sprintf("%d of 454 trials", n)
	}
	want := func(what, status, hash string) {
		t.Helper()
		if got := b.status(); got != status {
			t.Errorf("%s: %q, want %q", what, got, status)
		}
		if got := b.hash(); got != hash {
			t.Errorf("%s: the address is %q, want %q", what, got, hash)
		}
	}
	if n := b.rows(); n != 100 {
		t.Errorf("%d trials are drawn at first, want 100", n)
	}
	b.Do(click("#next"))
	if n := b.rows(); n != 200 {
		t.Errorf("%d trials are drawn then, want 200", n)
	}
	b.Do(focus(`[data-outcome="panic"]`), chromedp.KeyEvent(" "))
	want("panic", count(func(_, _, o, _ string) bool { return o == "panic" }), "#trials?outcome=panic")
	b.Do(click(`[data-outcome="invalid"]`))
	want("panic or invalid", count(func(_, _, o, _ string) bool { return o == "panic" || o == "invalid" }), "#trials?outcome=panic&outcome=invalid")
	b.Do(focus("#version"), chromedp.KeyEvent("2.3.9"))
	want("of a version", count(func(c, _, o, _ string) bool { return (o == "panic" || o == "invalid") && strings.HasSuffix(c, "2.3.9") }),
		"#trials?version=2.3.9&outcome=panic&outcome=invalid")
	b.Do(focus("#text"), chromedp.KeyEvent("Overlap storm"))
	want("and text", count(func(c, _, o, s string) bool {
		return (o == "panic" || o == "invalid") && strings.HasSuffix(c, "2.3.9") && s == overlap && strings.Contains(c, "storm")
	}), "#trials?text=Overlap+storm&version=2.3.9&outcome=panic&outcome=invalid")
	b.Shoot("filter")
	b.Do(click("#clear"))
	want("all", "454 of 454 trials", "#trials")
	if got := b.Focused(); got != "text" {
		t.Errorf("the focus is on %q", got)
	}
	b.Do(chromedp.KeyEvent("no such thing"))
	want("nothing", "0 of 454 trials", "#trials?text=no+such+thing")
	b.Do(chromedp.Evaluate[chromedp.Void](`location.hash = "#trials?arm=no-flip&signature=verify%40dnode_hold_impl"`))
	b.until(`document.querySelectorAll("#more button").length === 2`)
	want("an arm's signature", count(func(_, a, _, s string) bool { return a == "no-flip" && s == "verify@dnode_hold_impl" }),
		"#trials?arm=no-flip&signature=verify%40dnode_hold_impl")
	b.Do(click("#more button"))
	want("the signature", count(func(_, _, _, s string) bool { return s == "verify@dnode_hold_impl" }), "#trials?signature=verify%40dnode_hold_impl")
}

// Without a mouse: everything is reached with Tab, in order, and can be seen to be.
func TestKeyboard(t *testing.T) {
	b := open(t, full(), "")
	b.Do(chromedp.KeyEvent(kb.Tab))
	if got := b.text(":focus"); got != "To the verdicts" {
		t.Errorf("the first stop is %q", got)
	}
	b.follow()
	b.until(`document.activeElement.id === "matrix"`)
	b.Do(chromedp.KeyEvent(kb.Tab))
	b.Wants("the next stop", b.text(":focus"), "reproduces")
	if style := eval[string](b, `getComputedStyle(document.activeElement).outlineStyle + getComputedStyle(document.activeElement).outlineWidth`); style != "solid2px" {
		t.Errorf("the outline of the focus is %q", style)
	}
	b.follow()
	b.until(`document.activeElement.id === "blkptr-dva-flip-0/2.3.2"`)
	b.Do(chromedp.Evaluate[chromedp.Void](`document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "/", bubbles: true }))`))
	b.until(`document.activeElement.id === "text"`)
	b.Do(chromedp.KeyEvent("npx")) // letters that are keys elsewhere
	if got := b.hash(); got != "#trials?text=npx" {
		t.Errorf("the address is %q", got)
	}
	b.Do(chromedp.KeyEvent(kb.Backspace), chromedp.KeyEvent(kb.Backspace), chromedp.KeyEvent(kb.Backspace))
	for range 200 { // from the field to the first trial
		b.Do(chromedp.KeyEvent(kb.Tab))
		if eval[bool](b, `document.activeElement.matches("#list a")`) {
			break
		}
	}
	b.Do(chromedp.KeyEvent(kb.Enter))
	b.until(`document.activeElement.id === "name"`)
	b.Do(chromedp.KeyEvent("n"))
	b.until(`document.getElementById("name").textContent.endsWith("flip/2")`)
	b.Do(chromedp.KeyEvent("p"))
	b.until(`document.getElementById("name").textContent.endsWith("flip/1")`)
	b.Do(chromedp.KeyEvent(kb.Escape))
	b.until(`document.getElementById("trial").hidden`)
	if got := eval[string](b, `document.activeElement.getAttribute("href")`); got != first {
		t.Errorf("after Escape the focus is on %q", got)
	}
}

// node is what a screen reader is told of an element.
type node struct {
	role, name string
	level      int
}

// tree is the accessibility tree, in order.
func (b *browser) tree() (list []node) {
	answer := browsertest.Get(b.Browser, func(ctx context.Context, t *chromedp.Target) (accessibility.GetFullAXTreeResult, error) {
		return cdp.Call(ctx, t, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	})
	text := func(v *accessibility.Value) (s string) {
		if v != nil {
			_ = json.Unmarshal(v.Value, &s)
		}
		return s
	}
	for _, n := range answer.Nodes {
		if n.Ignored {
			continue
		}
		one := node{role: text(n.Role), name: text(n.Name)}
		for _, p := range n.Properties {
			if p.Name == "level" && p.Value != nil {
				_ = json.Unmarshal(p.Value.Value, &one.level)
			}
		}
		list = append(list, one)
	}
	return list
}

func TestAccessible(t *testing.T) {
	b := open(t, full(), first)
	b.until(`document.activeElement.id === "name"`)
	roles := map[string]int{}
	for _, width := range []int64{1280, 400} {
		b.Media("screen", "light", width)
		clear(roles)
		level := 0
		for _, n := range b.tree() {
			roles[n.role]++
			switch n.role {
			case "heading":
				if n.level > level+1 {
					t.Errorf("heading %q of level %d comes after one of level %d", n.name, n.level, level)
				}
				level = n.level
				fallthrough
			case "button", "link", "searchbox", "combobox", "table", "region", "image", "navigation":
				if strings.TrimSpace(n.name) == "" {
					t.Errorf("a %s has no name", n.role)
				}
			}
		}
		for role, least := range map[string]int{
			"banner": 1, "navigation": 2, "main": 1, "search": 1, "table": 17, "columnheader": 60, "rowheader": 50, "heading": 30, "searchbox": 1, "combobox": 2,
			"region": 8, "contentinfo": 1,
		} {
			if roles[role] < least {
				t.Errorf("%d wide: %d elements are a %s, want %d", width, roles[role], role, least)
			}
		}
	}
	for _, bad := range eval[[]string](b, `[
		...[...document.querySelectorAll("th:not([scope])")].map((e) => "th without scope: " + e.textContent),
		...[...document.querySelectorAll("[id]")].filter((e, i, all) => all.findIndex((o) => o.id === e.id) !== i).map((e) => "a second " + e.id),
		...[...document.querySelectorAll("[aria-labelledby]")].filter((e) => !document.getElementById(e.getAttribute("aria-labelledby"))).map((e) => "labelled by nothing: " + e.outerHTML.slice(0, 80)),
		...[...document.querySelectorAll("main a[href^='#']")].map((a) => a.getAttribute("href")).filter((h) => !h.startsWith("#trials?") && !/\/\d+$/.test(h) && !document.getElementById(h.slice(1))).map((h) => "leads nowhere: " + h),
		...(document.querySelector("#status").getAttribute("aria-live") === "polite" ? [] : ["the number of trials is not announced"]),
	]`) {
		t.Error(bad)
	}
}

func TestReadable(t *testing.T) {
	b := open(t, full(), first)
	b.until(`document.activeElement.id === "name"`)
	b.Do(chromedp.Evaluate[chromedp.Void](`for (const d of document.querySelectorAll("details")) d.open = true`))
	background := map[string]string{}
	for _, as := range []struct{ name, media, scheme string }{{"light", "screen", "light"}, {"dark", "screen", "dark"}, {"print", "print", "dark"}} {
		for _, width := range []int64{1280, map[string]int64{"screen": 400, "print": 700}[as.media]} { // of A4 it is 718
			b.Media(as.media, as.scheme, width)
			b.Readable(fmt.Sprintf("%s-%d", as.name, width), 500)
			background[as.name] = eval[string](b, `getComputedStyle(document.body).backgroundColor`)
			b.Shoot(fmt.Sprintf("%s-%d", as.name, width))
		}
	}
	if background["dark"] == background["light"] || background["print"] != background["light"] {
		t.Errorf("backgrounds %v: dark must be its own, print light", background)
	}
	b.PDF("print")
}

// What strangers wrote is shown, and does nothing.
func TestHostile(t *testing.T) {
	p := sample{scenarios: 2, versions: 2, trials: 10, hostile: true}.page()
	p.Title, p.Error, p.Past = "night "+hostile, hostile, hostile
	p.Changes = full().Changes
	for i := range p.Changes {
		c := &p.Changes[i]
		c.Scenario, c.Since, c.Before, c.After, c.Text = p.Asked[0].Name, hostile, hostile, hostile, hostile
	}
	p.Bisections = append(p.Bisections, bisected(hostile))
	p.Atlases = full().Atlases
	p.Atlases[0].Target = hostile
	html := written(t, p)
	if bad := regexp.MustCompile(`[\x00-\x08\x0b-\x1f\x7f\x{80}-\x{9f}\x{2028}\x{2029}\x{202e}]`).FindString(html); bad != "" {
		t.Errorf("%q is in the page", bad)
	}
	if n := strings.Count(html, "<script"); n != strings.Count(html, "</script>") || n > 4 {
		t.Errorf("%d scripts begin and %d end", n, strings.Count(html, "</script>"))
	}
	b := &browser{browsertest.Open(t, []byte(html), "")}
	b.Wants("heading", b.text("h1"), "<script>window.ran = 1</script>", `\u2028`, `\u001b[31m\u202e`)
	b.Do(click(".matrix tbody td a"))
	b.until(`document.activeElement.tagName === "H4"`)
	b.Do(click(`.sig`)) // the filter's words are a stranger's too
	b.until(`document.querySelectorAll("#more button").length === 2`)
	if n := b.rows(); n == 0 {
		t.Error("the filter of a hostile scenario leaves nothing")
	}
	b.Do(click("#list tbody a"))
	b.until(`document.activeElement.id === "name"`)
	b.Wants("trial", b.text("#trial"), "</script><script>window.ran = 1</script><!-- <img src=http://example.invalid/x", `\u2028\u2029\u001b[31m\u202e'"&amp;{{.}}`)
	if raw := eval[string](b, `document.body.innerText.match(/[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202e]/)?.[0] ?? ""`); raw != "" {
		t.Errorf("%q is in the text of the page", raw)
	}
	if got := eval[string](b, `String(window.ran) + document.querySelectorAll("script:not([type])").length + document.querySelectorAll("img").length`); got != "undefined11" {
		t.Errorf("what ran, scripts and images: %s", got)
	}
	b.Do(chromedp.Reload())
	b.until(`document.activeElement.id === "name"`)
}

// The policy of the page forbids what escaping should have made impossible already.
func TestPolicy(t *testing.T) {
	b := open(t, full(), "")
	b.Closed()
}

// Verdicts, arms and signatures need no script.
func TestWithoutScript(t *testing.T) {
	b := open(t, full(), "")
	b.Do(browsertest.Call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}), chromedp.Reload())
	b.Wants("matrix", b.text(".matrix"), "does not reproduce", "9/10, 90.0 %")
	b.Wants("arms", b.text(".arms"), "9 of 10", "55.5 to 99.7 %", "panic 9")
	b.Wants("signatures", eval[string](b, `document.querySelector(".signature").textContent`), overlap, "range_tree_add_impl")
	b.Wants("trials", b.text("noscript"), "need none")
	if eval[bool](b, `document.getElementById("filter").checkVisibility()`) {
		t.Error("a filter is shown that does nothing")
	}
}

// An outcome, a verdict and an arm are told by a glyph and words, not by colour alone.
func TestNotByColour(t *testing.T) {
	b := open(t, full(), "")
	cells := eval[[]string](b, `[...document.querySelectorAll(".matrix td:not(.blank)")].map((e) => e.className + "|" + e.querySelector("a").textContent)`)
	glyphs := map[string]string{"v-yes": "● reproduces", "v-no": "○ does not reproduce", "v-open": "◐ inconclusive",
		"s-good": "✓ as expected", "s-bad": "✗ not as expected", "s-changed": "Δ changed", "s-open": "… undecided"}
	for _, c := range cells {
		classes, text, _ := strings.Cut(c, "|")
		for class := range strings.FieldsSeq(classes) {
			if !strings.Contains(text, glyphs[class]) || glyphs[class] == "" {
				t.Errorf("a cell of class %s says %q", class, text)
			}
		}
	}
	dashes := eval[[]string](b, `["k1", "k2", "k3", "k4", "k5", "k6"].map((k) => {
		const p = document.createElementNS("http://www.w3.org/2000/svg", "path");
		p.setAttribute("class", "curve " + k);
		document.querySelector(".curves svg").append(p);
		return getComputedStyle(p).strokeDasharray;
	})`)
	if n := len(slices.Compact(slices.Sorted(slices.Values(dashes)))); n != 6 {
		t.Errorf("six curves have %d kinds of lines: %q", n, dashes)
	}
}
