// Shows what the server tells: one snapshot, then differences. Every text of the system gets in by textContent, never as markup.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const make = (tag, className, text) => {
    const one = document.createElement(tag);
    if (className) one.className = className;
    if (text !== undefined) one.textContent = text;
    return one;
  };
  const setText = (one, text) => { if (one.textContent !== text) one.textContent = text; };
  const setAttr = (one, name, value) => {
    if (value === null || value === undefined) one.removeAttribute(name);
    else if (one.getAttribute(name) !== String(value)) one.setAttribute(name, value);
  };
  const count = (number) => number.toLocaleString("en");

  // --- what is shown: asked for in the stream's address ---------------------------------------------------------------

  const view = { search: "", open: new Map(), close: new Set() };
  const rows = new Map(); // by key: what the server told
  const parts = new Map(); // by key: the elements
  let order = [], columns = [], around = {}, skew = 0, focused = null, restore = false;

  const query = () => {
    const asked = new URLSearchParams();
    if (view.search) asked.set("search", view.search);
    for (const [key, first] of view.open) asked.append("open", first ? `${key}:${first}` : key);
    for (const key of view.close) asked.append("close", key);
    const text = asked.toString();
    return text ? `?${text}` : "";
  };

  // --- the stream -----------------------------------------------------------------------------------------------------

  let stream = null, heard = 0, again = null;

  const connect = () => {
    clearTimeout(again);
    if (stream) stream.close();
    stream = null;
    if (document.hidden) { say("paused", "paused: this page is hidden"); return; }
    heard = performance.now();
    stream = new EventSource(`events${query()}`);
    const listen = (name, act) => stream.addEventListener(name, (event) => {
      heard = performance.now();
      say("live", "live");
      act(JSON.parse(event.data));
    });
    listen("snapshot", snapshot);
    listen("changes", changes);
    listen("beat", () => {});
    stream.onerror = () => {
      say("lost", "connection lost, trying again");
      if (stream && stream.readyState === EventSource.CLOSED) { clearTimeout(again); again = setTimeout(connect, 3000); }
    };
  };

  const say = (state, text) => {
    const link = $("link");
    setAttr(link, "data-state", state);
    setText(link, text);
  };

  setInterval(() => {
    if (stream && performance.now() - heard > 15000) { say("lost", "no word for 15 s, trying again"); connect(); }
  }, 5000);
  document.addEventListener("visibilitychange", connect);
  window.addEventListener("pagehide", () => { if (stream) stream.close(); });

  const snapshot = (told) => {
    const first = rows.size === 0;
    skew = told.now - performance.now() / 1000;
    const before = new Map(rows);
    rows.clear();
    for (const [key, row] of Object.entries(told.rows)) rows.set(key, row);
    order = Object.keys(told.rows);
    if (columns.join("\n") !== told.columns.join("\n")) { columns = told.columns; for (const key of [...parts.keys()]) drop(key); }
    around = { totals: told.totals, summary: told.summary, found: told.found, cut: told.cut };
    showHead();
    showAround();
    for (const key of order) showRow(key, !first && before.has(key) && differs(before.get(key), rows.get(key)));
    showOrder();
    $("events").replaceChildren();
    entries.clear();
    showEvents(told.events);
  };

  const changes = (told) => {
    skew = told.now - performance.now() / 1000;
    for (const [key, row] of Object.entries(told.rows || {})) {
      const before = rows.get(key);
      rows.set(key, row);
      showRow(key, !before || differs(before, row));
    }
    if (told.order) {
      order = told.order;
      const wanted = new Set(order);
      for (const key of [...rows.keys()]) if (!wanted.has(key)) rows.delete(key);
      showOrder();
    }
    for (const name of ["totals", "summary", "found", "cut"]) if (name in told) around[name] = told[name];
    showAround();
    showEvents(told.events || []);
  };

  // What deserves a flash; a mailbox that goes up and down, and a request that is counted, do not.
  const worth = (row) => JSON.stringify([row.state, row.since, row.restarts, row.exit, row.failure,
    row.below && [row.below.running, row.below.restarting, row.below.stopped, row.below.restarts], row.figures && row.figures.token]);
  const differs = (before, row) => worth(before) !== worth(row);

  // --- words ----------------------------------------------------------------------------------------------------------

  const duration = (seconds) => {
    const s = Math.max(0, seconds);
    if (s < 10) return `${s.toFixed(1)} s`;
    if (s < 120) return `${Math.floor(s)} s`;
    if (s < 7200) return `${Math.floor(s / 60)} min`;
    if (s < 172800) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
    return `${Math.floor(s / 86400)} d`;
  };
  const now = () => performance.now() / 1000 + skew;

  // --- the totals -----------------------------------------------------------------------------------------------------

  const showAround = () => {
    const totals = around.totals || {};
    const told = [
      ["actors", totals.actors, "plain"], ["running", totals.running, "good"], ["restarting", totals.restarting, "warn"],
      ["stopped", totals.stopped, "plain"], ["restarts", totals.restarts, "plain"], ["messages wait", totals.messages, "plain"],
    ].map(([name, value, tone]) => ({ name, value: count(value || 0), tone: value ? tone : "plain" }));
    for (const figure of around.summary || []) {
      const [, value, name] = /^([\d,.]+) (.*)$/.exec(figure.text) || [null, figure.text, ""];
      told.push({ name, value, tone: figure.tone || "plain" });
    }
    const list = $("totals");
    while (list.children.length > told.length) list.lastChild.remove();
    told.forEach(({ name, value, tone }, index) => {
      let item = list.children[index];
      if (!item) {
        item = make("li");
        item.append(make("b"), make("span"));
        list.append(item);
      }
      setAttr(item, "data-tone", tone);
      setText(item.children[0], value);
      setText(item.children[1], name);
    });
    const found = around.found;
    setText($("found"), typeof found === "number"
      ? `${count(found)} found${found > order.length ? `, the first ${count(order.length)} are shown` : ""}`
      : around.cut ? "too many rows: close some, or search" : "");
    $("empty").hidden = order.length > 0;
  };

  // --- the tree -------------------------------------------------------------------------------------------------------

  const OWN = ["state", "up", "restarts", "mailbox"];
  const showHead = () => {
    const names = ["name", ...OWN.slice(0, 2), ...columns, ...OWN.slice(2)];
    const head = $("head");
    if ([...head.children].map((one) => one.textContent).join("\n") === names.join("\n")) return;
    head.replaceChildren(...names.map((name) => {
      const cell = make("th", `c-${name.replace(/\W/g, "-")}`, name);
      cell.scope = "col";
      setAttr(cell, "role", "columnheader");
      return cell;
    }));
  };

  const element = (key) => {
    let one = parts.get(key);
    if (one) return one;
    const tr = make("tr");
    tr.tabIndex = -1;
    tr.dataset.key = key;
    setAttr(tr, "role", "row");
    const cells = {};
    const add = (name, label) => {
      const cell = make("td", `c-${name.replace(/\W/g, "-")}`);
      setAttr(cell, "role", "gridcell");
      if (label) cell.dataset.label = name;
      tr.append(cell);
      cells[name] = cell;
    };
    add("name", false);
    add("state", false);
    add("up", true);
    for (const column of columns) add(column, true);
    for (const name of OWN.slice(2)) add(name, true);
    const toggle = make("span", "toggle");
    setAttr(toggle, "aria-hidden", "true");
    const name = make("span", "label"), kind = make("span", "kind"), more = make("span", "more"), pager = make("span", "pager");
    const notes = make("span", "notes"), pill = make("span", "pill");
    cells.name.append(toggle, name, kind, more, pager, notes);
    cells.state.append(pill);
    one = { tr, cells, toggle, name, kind, more, pager, pill, notes, figures: {} };
    toggle.addEventListener("click", (event) => { event.stopPropagation(); focus(key); toggleRow(key); });
    tr.addEventListener("focus", () => roam(key));
    tr.addEventListener("dblclick", () => toggleRow(key));
    parts.set(key, one);
    return one;
  };

  const drop = (key) => {
    const one = parts.get(key);
    if (one) one.tr.remove();
    parts.delete(key);
  };

  const showRow = (key, changed) => {
    const row = rows.get(key), one = element(key);
    const { tr, cells } = one, supervises = row.children !== undefined;
    tr.style.setProperty("--level", row.level - 1);
    setAttr(tr, "aria-level", row.level);
    setAttr(tr, "aria-expanded", supervises && !view.search ? Boolean(row.open) : null);
    setAttr(tr, "data-state", row.state);
    setAttr(tr, "data-type", row.type);
    setText(one.toggle, supervises && !view.search ? (row.open ? "▾" : "▸") : "");
    setText(one.name, row.label);
    one.name.title = row.label;
    setText(one.kind, [row.name && row.name !== row.label ? row.name : "", row.class && row.class !== row.label ? row.class : "",
      row.path ? `in ${row.path}` : ""].filter(Boolean).join(" · "));
    showBelow(key, row, one);
    setText(one.pill, row.state);
    setText(cells.restarts, row.restarts ? count(row.restarts) : "");
    setText(cells.mailbox, row.mailbox ? count(row.mailbox) : "");
    setAttr(cells.mailbox, "data-tone", row.mailbox > 1000 ? "bad" : row.mailbox > 100 ? "warn" : null);
    showNotes(one, row);
    for (const column of columns) showFigure(one, cells[column], column, (row.figures || {})[column]);
    tick(key);
    if (changed) flash(tr);
  };

  // Below the name: what is waited for, why it ended last, and what the parts have no column for.
  const showNotes = (one, row) => {
    const told = [];
    if (row.waits) told.push(["", row.waits, "warn"]);
    if (row.exit) told.push(["last end", row.failure && !row.exit.includes(row.failure) ? `${row.exit}, then ${row.failure}` : row.exit, row.state === "running" ? "plain" : "warn"]);
    else if (row.failure) told.push(["failed", row.failure, "bad"]);
    for (const [name, figure] of Object.entries(row.figures || {})) {
      if (!columns.includes(name)) told.push([name, figure.text, figure.tone || "plain"]);
    }
    const key = JSON.stringify(told);
    if (one.notes.dataset.told === key) return;
    one.notes.dataset.told = key;
    one.notes.replaceChildren(...told.map(([label, text, tone]) => {
      const note = make("span", "note");
      note.dataset.tone = tone;
      note.title = text;
      if (label) note.append(make("i", "", `${label} `));
      note.append(document.createTextNode(text));
      return note;
    }));
  };

  const flash = (tr) => {
    tr.classList.remove("changed");
    void tr.offsetWidth; // begins the animation anew
    tr.classList.add("changed");
  };

  const showBelow = (key, row, one) => {
    const below = row.below;
    if (!below) { one.more.replaceChildren(); one.pager.replaceChildren(); return; }
    const told = [[`${count(row.children)} ${row.children === 1 ? "child" : "children"}`, "plain"]];
    if (below.restarting) told.push([`${count(below.restarting)} restarting`, "warn"]);
    if (below.stopped) told.push([`${count(below.stopped)} stopped`, "plain"]);
    if (below.restarts) told.push([below.restarts === 1 ? "1 restart" : `${count(below.restarts)} restarts`, "plain"]);
    if (below.messages) told.push([below.messages === 1 ? "1 message" : `${count(below.messages)} messages`, "plain"]);
    for (const figure of below.parts || []) told.push([figure.text, figure.tone || "plain"]);
    const key_ = JSON.stringify(told);
    if (one.more.dataset.told !== key_) {
      one.more.dataset.told = key_;
      one.more.replaceChildren(...told.map(([text, tone]) => { const tag = make("span", "tag", text); tag.dataset.tone = tone; return tag; }));
    }
    const pages = row.open && row.first !== undefined && !view.search;
    const text = pages ? `${count(row.first + 1)}–${count(Math.min(row.children, row.first + PAGE))}` : "";
    if (one.pager.dataset.text === `${text} ${row.children}`) return;
    one.pager.dataset.text = `${text} ${row.children}`;
    one.pager.replaceChildren();
    if (!pages) return;
    const step = (label, sign, by) => {
      const button = make("button", "", sign);
      button.type = "button";
      button.tabIndex = -1;
      setAttr(button, "aria-label", label);
      button.disabled = by < 0 ? row.first <= 0 : row.first + PAGE >= row.children;
      button.addEventListener("click", (event) => { event.stopPropagation(); focus(key); leaf(key, by); });
      return button;
    };
    one.pager.append(step("earlier children", "‹", -PAGE), make("span", "", text), step("later children", "›", PAGE));
  };

  const showFigure = (one, cell, column, figure) => {
    if (!figure) { if (one.figures[column]) { delete one.figures[column]; cell.replaceChildren(); } return; }
    let shown = one.figures[column];
    if (!shown) {
      shown = one.figures[column] = { text: make("span", "text"), left: make("span", "left"), bar: make("span", "bar"), fill: make("span", "fill") };
      shown.bar.append(shown.fill);
      cell.replaceChildren(shown.bar, shown.text, shown.left);
    }
    setAttr(cell, "data-tone", figure.tone || "plain");
    setText(shown.text, figure.text);
    cell.title = figure.text;
    shown.bar.hidden = figure.of === undefined;
  };

  const tick = (key) => {
    const row = rows.get(key), one = parts.get(key);
    if (!row || !one) return;
    const at = now();
    setText(one.cells.up, row.since === undefined ? "" : duration(at - row.since));
    for (const column of columns) {
      const figure = (row.figures || {})[column], shown = one.figures[column];
      if (!figure || !shown) continue;
      const left = figure.ends === undefined ? null : figure.ends - at;
      setText(shown.left, left === null ? "" : left > 0 ? duration(left) : "now");
      if (figure.of !== undefined) shown.fill.style.transform = `scaleX(${Math.max(0, Math.min(1, left / figure.of)).toFixed(3)})`;
    }
  };
  setInterval(() => { if (!document.hidden) for (const key of order) tick(key); }, 1000);

  const showOrder = () => {
    const body = $("rows"), wanted = new Set(order);
    for (const key of [...parts.keys()]) if (!wanted.has(key)) drop(key);
    let next = body.firstChild;
    const siblings = new Map();
    for (const key of order) {
      const parent = rows.get(key).parent || "";
      siblings.set(parent, (siblings.get(parent) || 0) + 1);
    }
    const place = new Map();
    for (const key of order) {
      const { tr } = element(key), row = rows.get(key), parent = row.parent || "", above = rows.get(parent);
      if (tr === next) next = next.nextSibling; else body.insertBefore(tr, next);
      place.set(parent, (place.get(parent) || 0) + 1);
      setAttr(tr, "aria-posinset", ((above && above.first) || 0) + place.get(parent));
      setAttr(tr, "aria-setsize", above && above.children ? above.children : siblings.get(parent));
    }
    if (!focused || !rows.has(focused)) roam(order[0]);
    if (restore && parts.has(focused)) { parts.get(focused).tr.focus({ preventScroll: true }); restore = false; }
  };

  // --- without a mouse: one row can be reached with Tab, the others with the arrows --------------------------------------

  const roam = (key) => {
    if (focused && parts.has(focused)) parts.get(focused).tr.tabIndex = -1;
    focused = key;
    if (key && parts.has(key)) parts.get(key).tr.tabIndex = 0;
  };
  const focus = (key) => {
    const one = key && parts.get(key);
    if (!one) return;
    roam(key);
    one.tr.focus();
    one.tr.scrollIntoView({ block: "nearest" });
  };

  const toggleRow = (key, open) => {
    const row = rows.get(key);
    if (!row || row.children === undefined || view.search) return;
    const wanted = open === undefined ? !row.open : open;
    if (wanted === Boolean(row.open)) return;
    view.open.delete(key);
    view.close.delete(key);
    if (wanted) view.open.set(key, 0); else view.close.add(key);
    ask();
  };
  const PAGE = 50;
  const leaf = (key, by) => {
    const row = rows.get(key);
    if (!row || row.first === undefined || !row.open) return false;
    const first = row.first + by;
    if (first < 0 || first >= row.children) return true;
    view.close.delete(key);
    view.open.set(key, first);
    ask();
    return true;
  };
  const ask = () => {
    restore = document.activeElement && document.activeElement.closest("#rows") !== null;
    connect();
  };

  const MOVES = {
    ArrowDown: (at) => focus(order[at + 1]),
    ArrowUp: (at) => focus(order[at - 1]),
    Home: () => focus(order[0]),
    End: () => focus(order[order.length - 1]),
    ArrowRight: (at, key) => { const row = rows.get(key); if (row.children !== undefined && row.open) { if ((rows.get(order[at + 1]) || {}).parent === key) focus(order[at + 1]); } else toggleRow(key, true); },
    ArrowLeft: (_at, key) => { const row = rows.get(key); if (row.children !== undefined && row.open && !view.search) toggleRow(key, false); else focus(row.parent); },
    Enter: (_at, key) => toggleRow(key),
    " ": (_at, key) => toggleRow(key),
    PageDown: (at, key) => { if (!leaf(pool(key), PAGE)) focus(order[Math.min(order.length - 1, at + 10)]); },
    PageUp: (at, key) => { if (!leaf(pool(key), -PAGE)) focus(order[Math.max(0, at - 10)]); },
  };
  const pool = (key) => { const row = rows.get(key); return row.first !== undefined && row.open ? key : row.parent; };

  $("rows").addEventListener("keydown", (event) => {
    const tr = event.target.closest("tr");
    if (!tr || event.ctrlKey || event.metaKey || event.altKey || !(event.key in MOVES)) return;
    const key = tr.dataset.key;
    event.preventDefault();
    MOVES[event.key](order.indexOf(key), key);
  });

  // --- the search -----------------------------------------------------------------------------------------------------

  let typing = null;
  const search = () => {
    clearTimeout(typing);
    const words = $("words").value.trim();
    if (words === view.search) return;
    view.search = words;
    setText($("tree-title"), words ? "Found" : "Supervision tree");
    connect();
  };
  $("words").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(search, 250); });
  $("search").addEventListener("submit", (event) => { event.preventDefault(); search(); focus(order[0]); });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && event.target !== $("words") && !event.ctrlKey && !event.metaKey) { event.preventDefault(); $("words").focus(); }
    if (event.key === "Escape") { $("words").value = ""; restore = true; search(); focus(focused); }
  });

  // --- the timeline ---------------------------------------------------------------------------------------------------

  const entries = new Map();
  const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const showEvents = (told) => {
    const list = $("events"), fresh = entries.size > 0;
    for (const entry of told) {
      let one = entries.get(entry.number);
      if (!one) {
        const item = make("li"), time = make("time"), text = make("div");
        const event = make("b"), who = make("span", "who"), what = make("span", "what");
        text.append(event, who, what);
        item.append(time, text);
        one = { item, time, event, who, what };
        entries.set(entry.number, one);
        list.prepend(item);
        if (fresh) flash(item);
      }
      setAttr(one.item, "data-level", entry.level);
      one.time.dateTime = new Date(entry.at * 1000).toISOString();
      setText(one.time, clock.format(new Date(entry.at * 1000)));
      setText(one.event, entry.event.replaceAll("_", " "));
      setText(one.who, entry.who);
      setText(one.what, entry.more ? `${entry.what}${entry.what ? ", " : ""}and ${count(entry.more)} more` : entry.what);
      if (fresh && entry.level === "error") setText($("alert"), `${entry.event.replaceAll("_", " ")}: ${entry.who}`);
    }
    while (list.children.length > 100) list.lastChild.remove();
    for (const [number, one] of entries) if (!one.item.isConnected) entries.delete(number);
    $("quiet").hidden = entries.size > 0;
    setText($("count"), entries.size ? `the last ${entries.size}` : "");
  };

  connect();
})();
