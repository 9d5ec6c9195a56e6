"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const { cells, outcomes, strings, trials, chunk } = JSON.parse($("data").textContent);
  const chunks = new Map();
  const lines = 100; // drawn at once

  // Everything is text: names, messages and consoles may hold anything.
  function make(kind, text, attributes = {}) {
    const e = document.createElement(kind);
    if (text !== undefined) e.textContent = text;
    for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
    return e;
  }
  function swatch(outcome) {
    return make("span", outcome.glyph, { class: `swatch ${outcome.name}`, "aria-hidden": "true" });
  }
  const hrefOf = (t) => `${cells[t[0]].arms[t[1]].href}/${t[2]}`;
  const nameOf = (t) => `${cells[t[0]].arms[t[1]].name}/${t[2]}`;
  const titleOf = (t) => `${cells[t[0]].scenario} on OpenZFS ${cells[t[0]].column}, ${nameOf(t)}`;

  // What a trial is searched by, made when it is searched, or there is nothing else to do.
  const haystacks = new Array(trials.length);
  function haystack(i) {
    if (haystacks[i] === undefined) {
      const t = trials[i];
      const cell = cells[t[0]];
      haystacks[i] = `${cell.scenario} ${cell.column} ${nameOf(t)} ${outcomes[t[3]].name} ${strings[t[4]]} ${strings[t[5]]}`.toLowerCase();
    }
    return haystacks[i];
  }
  function prepare(from) {
    const to = Math.min(from + 500, trials.length);
    for (let i = from; i < to; i++) haystack(i);
    if (to < trials.length) (window.requestIdleCallback ?? setTimeout)(() => prepare(to));
  }

  // The filter: its words stand in the address, so that a link leads to what is shown.
  const names = ["text", "scenario", "version", "arm", "signature"];
  const empty = () => ({ text: "", scenario: "", version: "", arm: "", signature: "", outcomes: new Set() });
  let filter = empty();
  let found = trials.map((_, i) => i);
  let drawn = 0;

  function match() {
    const words = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = outcomes.map((o) => filter.outcomes.size === 0 || filter.outcomes.has(o.name));
    const inCell = cells.map((c) => (!filter.scenario || c.scenario === filter.scenario) && (!filter.version || c.column === filter.version));
    const inArm = cells.map((c) => c.arms.map((a) => !filter.arm || a.name === filter.arm));
    const signature = filter.signature ? strings.indexOf(filter.signature) : -1;
    found = [];
    for (let i = 0; i < trials.length; i++) {
      const t = trials[i];
      if (!wanted[t[3]] || !inCell[t[0]] || !inArm[t[0]][t[1]]) continue;
      if (filter.signature && t[4] !== signature) continue;
      if (words.length > 0 && !words.every((w) => haystack(i).includes(w))) continue;
      found.push(i);
    }
  }

  function row(t) {
    const tr = make("tr");
    const name = make("th", undefined, { scope: "row" });
    name.append(make("a", titleOf(t), { href: hrefOf(t) }));
    const end = make("td");
    end.append(swatch(outcomes[t[3]]), outcomes[t[3]].name);
    const what = make("td");
    if (strings[t[4]]) what.append(make("code", strings[t[4]]), " ");
    what.append(strings[t[5]]);
    tr.append(name, end, what, make("td", `${(t[6] / 10).toFixed(1)} s`, { class: "nr" }));
    return tr;
  }
  function more() {
    const body = $("list").querySelector("tbody");
    const rows = found.slice(drawn, drawn + lines).map((i) => row(trials[i]));
    drawn += rows.length;
    body.append(...rows);
    const left = found.length - drawn;
    $("next").hidden = left === 0;
    $("next").textContent = `Show ${Math.min(left, lines)} more of ${left}`;
    return rows[0];
  }
  function draw() {
    match();
    drawn = 0;
    const table = make("table");
    const head = make("tr");
    for (const title of ["trial", "outcome", "what was seen", "took"]) head.append(make("th", title, { scope: "col" }));
    const thead = make("thead");
    thead.append(head);
    table.append(make("caption", "Trials", { class: "hide" }), thead, make("tbody"));
    $("list").replaceChildren(table);
    more();
    $("status").textContent = `${found.length} of ${trials.length} trials`;
    for (const b of document.querySelectorAll("[data-outcome]")) b.setAttribute("aria-pressed", String(filter.outcomes.has(b.dataset.outcome)));
    $("more").replaceChildren(...["arm", "signature"].filter((name) => filter[name]).map((name) => {
      const b = make("button", `${name} ${filter[name]} ×`, { type: "button", "aria-label": `no longer only ${name} ${filter[name]}` });
      b.addEventListener("click", () => {
        change({ [name]: "" });
        $("text").focus();
      });
      return b;
    }));
    $("clear").hidden = address() === "#trials";
    for (const name of ["text", "scenario", "version"]) if ($(name).value !== filter[name]) $(name).value = filter[name];
  }
  function address() {
    const words = new URLSearchParams();
    for (const name of names) if (filter[name]) words.set(name, filter[name]);
    for (const o of filter.outcomes) words.append("outcome", o);
    const text = words.toString();
    return text ? `#trials?${text}` : "#trials";
  }
  // A filter that changes takes the place of the one before: going back leads to the page before the list.
  function change(words) {
    filter = { ...filter, ...words };
    draw();
    const listed = location.hash === "#trials" || location.hash.startsWith("#trials?");
    history[listed ? "replaceState" : "pushState"](null, "", address());
    close();
  }

  // One trial.
  let opened = -1;
  function details(i) {
    const n = Math.floor(i / chunk);
    if (!chunks.has(n)) chunks.set(n, JSON.parse($(`d${n}`).textContent));
    const c = chunks.get(n);
    return { all: c.strings, trial: c.trials[i % chunk] };
  }
  function list(all, facts) {
    const dl = make("dl");
    for (const [name, value, code] of facts) {
      const dd = make("dd");
      dd.append(code ? make("code", all[value], { class: "again" }) : all[value]);
      dl.append(make("dt", all[name]), dd);
    }
    return dl;
  }
  function open(i) {
    opened = i;
    const t = trials[i];
    const { all, trial } = details(i);
    $("name").textContent = titleOf(t);
    const parts = [list(all, trial.f)];
    for (const strike of trial.i ?? []) parts.push(make("h3", `Injected: ${all[strike.t]}`), list(all, strike.f));
    for (const [title, before, marked, after] of trial.b ?? []) {
      const pre = make("pre", all[before]);
      if (all[marked]) pre.append(make("mark", all[marked]));
      pre.append(all[after]);
      parts.push(make("h3", all[title]), pre);
    }
    $("about").replaceChildren(...parts);
    const at = found.indexOf(i);
    beside("before", at > 0 ? found[at - 1] : -1);
    beside("after", at >= 0 && at + 1 < found.length ? found[at + 1] : -1);
    $("up").setAttribute("href", address());
    show();
  }
  function beside(id, i) {
    $(id).hidden = i < 0;
    if (i >= 0) $(id).setAttribute("href", hrefOf(trials[i]));
  }
  function lost(text) {
    opened = -1;
    $("name").textContent = "Trial";
    $("about").replaceChildren(make("p", text));
    beside("before", -1);
    beside("after", -1);
    $("up").setAttribute("href", address());
    show();
  }
  function show() {
    $("trial").hidden = false;
    $("name").focus({ preventScroll: true });
    $("trial").scrollIntoView();
  }
  function close() {
    $("trial").hidden = true;
    opened = -1;
  }

  // The address says what is shown.
  const places = new Map(trials.map((t, i) => [hrefOf(t), i]));
  const same = (hash) => {
    try {
      return decodeURIComponent(hash);
    } catch {
      return hash;
    }
  };
  const decoded = new Map([...places].map(([href, i]) => [same(href), i]));
  function go() {
    const hash = location.hash;
    if (hash === "#trials" || hash.startsWith("#trials?")) {
      const words = new URLSearchParams(hash.slice("#trials?".length));
      filter = empty();
      for (const name of names) filter[name] = words.get(name) ?? "";
      filter.outcomes = new Set(words.getAll("outcome"));
      const back = opened;
      draw();
      close();
      if (back >= 0) { // the focus goes to where it came from
        const link = [...$("list").querySelectorAll("a")].find((a) => a.getAttribute("href") === hrefOf(trials[back]));
        if (link) return link.focus();
      }
      $("trials").focus({ preventScroll: true });
      return $("trials").scrollIntoView();
    }
    const i = places.get(hash) ?? decoded.get(same(hash));
    if (i !== undefined) return open(i);
    if (/^#[^/]+\/[^/]+\/[^/]+\/\d+$/.test(hash)) {
      const of = cells.find((c) => same(hash).startsWith(same(c.href) + "/"));
      return lost(of ? `This trial is not in this page, which does not have all. vdevil show ${of.run || "RUN"}/${of.scenario}/ARM/N tells of it.`
        : "There is no such trial in this page.");
    }
    close();
    const e = $(hash.slice(1)) ?? $(same(hash).slice(1));
    if (e) { // not every browser moves the focus to where it scrolls
      e.focus({ preventScroll: true });
      e.scrollIntoView();
    }
  }

  for (const name of new Set(cells.map((c) => c.scenario))) $("scenario").append(make("option", name));
  const versions = new Set([...$("version").options].map((o) => o.value));
  for (const c of cells) if (!versions.has(c.column)) versions.add(c.column) && $("version").append(make("option", c.column));
  $("filter").hidden = trials.length === 0;
  $("filter").addEventListener("submit", (e) => e.preventDefault());
  $("text").addEventListener("input", () => change({ text: $("text").value }));
  for (const name of ["scenario", "version"]) $(name).addEventListener("change", () => change({ [name]: $(name).value }));
  for (const b of document.querySelectorAll("[data-outcome]")) {
    b.addEventListener("click", () => {
      const set = new Set(filter.outcomes);
      if (!set.delete(b.dataset.outcome)) set.add(b.dataset.outcome);
      change({ outcomes: set });
    });
  }
  $("clear").addEventListener("click", () => {
    change(empty());
    $("text").focus();
  });
  $("next").addEventListener("click", () => more()?.querySelector("a").focus());
  document.addEventListener("keydown", (e) => {
    if (e.altKey || e.ctrlKey || e.metaKey || e.target.matches?.("input, select")) return;
    const follow = (id) => !$(id).hidden && !$("trial").hidden && (location.hash = $(id).getAttribute("href"));
    if (e.key === "/" && trials.length > 0) {
      e.preventDefault();
      $("text").focus();
    } else if (e.key === "n") follow("after");
    else if (e.key === "p") follow("before");
    else if (e.key === "Escape") follow("up");
  });
  window.addEventListener("hashchange", go);
  draw();
  if (location.hash) go();
  prepare(0);
})();
