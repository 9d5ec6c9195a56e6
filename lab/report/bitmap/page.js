"use strict";
(() => {
  const { size, bits, fields, repeat } = JSON.parse(document.getElementById("data").textContent);
  const grid = document.getElementById("grid");
  const status = document.getElementById("status");
  const clear = document.getElementById("clear");
  const buttons = [...document.querySelectorAll("button[data-kind]")];
  const known = new Map(bits.map((b) => [b.bit, b]));
  const fieldOf = (n) => fields.find((f) => n >= f.first && n <= f.last)?.name ?? "";
  const cellOf = (n) => document.getElementById("b" + n);
  const numberOf = (cell) => Number(cell.id.slice(1));
  const outcomeOf = (b) => b?.outcome || "not run";

  // One cell is in the tab order: the cursor.
  let cursor = null;
  for (const cell of grid.querySelectorAll("b[id]")) {
    const n = numberOf(cell);
    cell.setAttribute("role", "gridcell");
    cell.setAttribute("aria-label", `bit ${n}, ${fieldOf(n) || "field unknown"}, ${outcomeOf(known.get(n))}`);
    cell.tabIndex = -1;
    cursor ??= cell;
  }
  if (cursor) cursor.tabIndex = 0;

  // The details of one bit. Everything is text: what the console said may hold anything.
  let shown = null;
  function show(cell) {
    shown?.classList.remove("shown");
    shown = cell;
    const facts = document.getElementById("facts");
    const text = document.getElementById("text");
    facts.replaceChildren();
    text.hidden = true;
    text.textContent = "";
    document.getElementById("hint").hidden = cell !== null;
    document.getElementById("what").textContent = "Details";
    if (!cell) return;
    cell.classList.add("shown");
    const n = numberOf(cell);
    const b = known.get(n);
    const fact = (name, value, kind = "span") => {
      if (value === "" || value === undefined) return;
      const dt = document.createElement("dt");
      const dd = document.createElement("dd");
      const v = document.createElement(kind);
      dt.textContent = name;
      v.textContent = value;
      dd.append(v);
      facts.append(dt, dd);
      return dd;
    };
    document.getElementById("what").textContent = `Bit ${n}`;
    const chip = document.createElement("span");
    chip.className = "swatch " + (b?.outcome || "notrun");
    chip.textContent = cell.textContent;
    chip.setAttribute("aria-hidden", "true");
    const means = buttons.find((x) => x.dataset.kind === "outcome" && x.dataset.value === b?.outcome)?.title;
    fact("outcome", ` ${outcomeOf(b)}${means ? ": " + means : ""}`).prepend(chip);
    fact("field", fieldOf(n), "code");
    fact("place", `byte 0x${Math.floor(n / 8).toString(16).padStart(3, "0")}, bit ${n % 8} of it; bit ${n % 64} of the word`);
    fact("signature", b?.signature, "code");
    if (b?.outcome) fact("took", `${b.seconds.toFixed(1)} s`);
    if (repeat) {
      fact("again", `${repeat} --bits ${n} --again`, "code").firstChild.className = "again";
    }
    if (b?.text) {
      text.textContent = b.text;
      text.hidden = false;
    }
  }
  function move(cell) {
    cursor.tabIndex = -1;
    cursor = cell;
    cursor.tabIndex = 0;
    cursor.focus();
  }
  grid.addEventListener("pointerover", (e) => {
    if (e.target.matches("b[id]")) show(e.target);
  });
  grid.addEventListener("pointerleave", () => {
    show(document.activeElement === cursor ? cursor : null);
  });
  grid.addEventListener("click", (e) => {
    if (e.target.matches("b[id]")) move(e.target);
  });
  grid.addEventListener("focusin", (e) => show(e.target));

  // Places count in reading order. A word stands in one line or, where there is little room, in two.
  const places = Math.ceil(size / 64) * 64;
  const bitAt = (place) => Math.floor(place / 64) * 64 + 63 - (place % 64);
  function lineLength() {
    const [high, low] = grid.querySelectorAll(".half");
    return low.offsetTop > high.offsetTop ? 32 : 64;
  }
  function target(place, key, ctrl) {
    const length = lineLength();
    const start = place - (place % length);
    switch (key) {
      case "ArrowLeft": return [place - 1, -1];
      case "ArrowRight": return [place + 1, 1];
      case "ArrowUp": return [place - length, -length];
      case "ArrowDown": return [place + length, length];
      case "PageUp": return [Math.max(place - 8 * length, place % length), length];
      case "PageDown": return [Math.min(place + 8 * length, places - length + (place % length)), -length];
      case "Home": return [ctrl ? 0 : start, 1];
      case "End": return [ctrl ? places - 1 : start + length - 1, -1];
    }
  }
  grid.addEventListener("keydown", (e) => {
    if (e.altKey || e.metaKey || e.shiftKey) return;
    const n = numberOf(cursor);
    const to = target(Math.floor(n / 64) * 64 + 63 - (n % 64), e.key, e.ctrlKey);
    if (!to) return;
    e.preventDefault();
    let [place, step] = to;
    // Where a structure ends within a word some cells are absent: they are stepped over.
    while (place >= 0 && place < places) {
      const cell = cellOf(bitAt(place));
      if (cell) return move(cell);
      place += step;
    }
  });

  // A bit passes if, of each kind of button that is pressed, one fits it.
  function filter() {
    const pressed = new Map();
    for (const b of buttons) {
      if (b.getAttribute("aria-pressed") !== "true") continue;
      const kind = b.dataset.kind;
      pressed.set(kind, (pressed.get(kind) ?? new Set()).add(b.dataset.value));
    }
    let left = 0;
    for (const cell of grid.querySelectorAll("b[id]")) {
      const n = numberOf(cell);
      const b = known.get(n);
      const is = { outcome: outcomeOf(b), signature: b?.signature ?? "", field: fieldOf(n) };
      const passes = [...pressed].every(([kind, values]) => values.has(is[kind]));
      cell.classList.toggle("out", !passes);
      if (passes) left++;
    }
    clear.hidden = pressed.size === 0;
    status.textContent = pressed.size === 0 ? "" : `${left} of ${size} bits shown`;
  }
  for (const b of buttons) {
    b.addEventListener("click", () => {
      b.setAttribute("aria-pressed", String(b.getAttribute("aria-pressed") !== "true"));
      filter();
    });
  }
  function showAll() {
    for (const b of buttons) b.setAttribute("aria-pressed", "false");
    filter();
  }
  clear.addEventListener("click", () => {
    showAll();
    buttons[0]?.focus();
  });
  document.addEventListener("keydown", (e) => {
    if (e.key !== "Escape") return;
    showAll();
    if (document.activeElement === cursor) cursor.blur();
    show(null);
  });
})();
