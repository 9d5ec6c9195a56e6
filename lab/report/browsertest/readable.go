package browsertest

import "strconv"

// Readable expects at least so many texts, all with enough contrast to what is behind them, and no box beyond the edge of the window or
// of the box that it is in. What is in a box that scrolls by itself, of class scroll, may be as wide as it likes; drawings are not looked into.
func (b *Browser) Readable(name string, texts int) {
	b.t.Helper()
	found := Eval[[]string](b, unreadable)
	if n, err := strconv.Atoi(found[0]); err != nil || n < texts {
		b.t.Errorf("%s: there are only %s texts, want %d", name, found[0], texts)
	}
	for _, bad := range found[1:] {
		b.t.Errorf("%s: low contrast: %s", name, bad)
	}
	for _, bad := range Eval[[]string](b, overflowing) {
		b.t.Errorf("%s: beyond the edge: %s", name, bad)
	}
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
		if (e.closest(".hide") || e.closest("svg") && e.tagName !== "text") continue;
		const drawn = e.tagName === "text";
		const ink = parse(drawn ? getComputedStyle(e).fill : getComputedStyle(e).color);
		if (ink.length === 4 && ink[3] === 0) continue;
		texts++;
		const [a, b] = [light(ink), light(drawn && e.matches("rect + text") ? parse(getComputedStyle(e.previousElementSibling).fill) : behind(e))];
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (ratio < 4.5) seen.set(e.tagName + "." + e.className + " " + ratio.toFixed(2), walk.currentNode.data.trim().slice(0, 30));
	}
	return [String(texts), ...[...seen].map(String)];
})()`

// overflowing lists what reaches beyond the right edge of the window, or is wider than the box that it is in.
const overflowing = `(() => {
	const out = [];
	const root = document.documentElement;
	const clipped = (e) => { // is only for screen readers
		for (; e; e = e.parentElement) if (getComputedStyle(e).clipPath === "inset(50%)") return true;
		return false;
	};
	if (root.scrollWidth > root.clientWidth) out.push("page: " + root.scrollWidth + " > " + root.clientWidth);
	for (const e of document.body.querySelectorAll("*")) {
		if (e.closest("svg *, .hide") || clipped(e) || e.closest(".scroll")?.contains(e.parentElement) || e.getBoundingClientRect().right < 0) continue;
		if (e.getBoundingClientRect().right > root.clientWidth + 0.5) out.push(e.tagName + "." + e.className + " " + e.textContent.slice(0, 30));
		const style = getComputedStyle(e);
		if (style.display !== "inline" && style.overflowX === "visible" && e.clientWidth && e.scrollWidth > e.clientWidth + 1) {
			out.push(e.tagName + "." + e.className + ": " + e.scrollWidth + " > " + e.clientWidth);
		}
	}
	return out;
})()`
