"use strict";
(() => {
  const $ = (id) => document.getElementById(id);

  // What is there becomes what is to be there, part by part: what has the focus, is selected or unfolded stays as it is.
  function morph(old, made) {
    if (old.nodeType !== made.nodeType || old.nodeName !== made.nodeName || (old.id ?? "") !== (made.id ?? "")) return old.replaceWith(made);
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== made.data) old.data = made.data;
      return;
    }
    const own = (name) => name === "open" && old.nodeName === "DETAILS"; // the reader's
    for (const { name } of [...old.attributes]) if (!made.hasAttribute(name) && !own(name)) old.removeAttribute(name);
    for (const { name, value } of made.attributes) if (old.getAttribute(name) !== value && !own(name)) old.setAttribute(name, value);
    children(old, made);
  }
  function children(old, made) {
    const wanted = [...made.childNodes];
    const ids = new Set(wanted.map((child) => child.id).filter(Boolean));
    let at = old.firstChild;
    for (const child of wanted) {
      while (at?.id && !ids.has(at.id)) {
        const next = at.nextSibling;
        at.remove();
        at = next;
      }
      if ((child.id || at?.id) && at?.id !== child.id) { // what has a name may have got another place
        const named = child.id && [...old.children].find((e) => e.id === child.id);
        old.insertBefore(named || child, at);
        if (named) morph(named, child);
      } else if (!at) {
        old.append(child);
      } else {
        const next = at.nextSibling;
        morph(at, child);
        at = next;
      }
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }
  function take(id, html) {
    if (html === undefined) return;
    children($(id), new DOMParser().parseFromString(html, "text/html").body); // no script in it would run
  }

  // A connection that breaks is made again, after longer and longer: what it tells first is all that there is to tell.
  let wait = 1000;
  function connect() {
    const address = new URL("events", location);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    address.hash = "";
    const socket = new WebSocket(address);
    socket.addEventListener("message", (e) => {
      wait = 1000;
      $("lost").hidden = true;
      const news = JSON.parse(e.data);
      take("now", news.now);
      take("told", news.told);
    });
    socket.addEventListener("close", () => {
      if ($("lost").hidden) $("lost").textContent = `vdevil serve does not answer. What is shown is from ${new Date().toLocaleTimeString()}.`;
      $("lost").hidden = false;
      setTimeout(connect, wait);
      wait = Math.min(2 * wait, 30000);
    });
  }

  // Trials are in the whole report.
  function go() {
    if (location.hash === "#trials" || location.hash.startsWith("#trials?")) location.replace(`report${location.hash}`);
  }
  window.addEventListener("hashchange", go);
  go();
  connect();
})();
