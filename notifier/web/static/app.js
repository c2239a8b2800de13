/* What a browser adds to the pages: they are refreshed, ages count on, and single keys work. Everything is there
   without it. One state is kept: when the last answer came. */
"use strict";
(() => {
  const root = document.documentElement;
  const words = JSON.parse(document.body.dataset.words);
  const skew = Date.parse(document.body.dataset.now) - Date.now();
  const now = () => Date.now() + skew;
  root.classList.remove("no-js");

  /* ---- ages: the same rules as filters.py ---- */

  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const UNITS = [["d", 86400, "h", 3600], ["h", 3600, "m", 60], ["m", 60, "s", 1], ["s", 1, "", 1]];
  const COARSE = [[90, "s", 1], [5400, "m", 60], [172800, "h", 3600], [Infinity, "d", 86400]];
  const coarse = (seconds) => {
    const [, unit, size] = COARSE.find(([below]) => seconds < below);
    return fill(words[unit], { n: Math.floor(seconds / size) });
  };
  const rough = (seconds) => {
    const left = seconds >= 60 ? seconds - (seconds % 60) : seconds;
    if (left < 1) return words.moment;
    const [unit, size, smaller, fraction] = UNITS.find((row) => left >= row[1]);
    const rest = Math.floor((left % size) / fraction);
    const count = Math.floor(left / size);
    if (!rest) return fill(words[unit], { n: count });
    return `${fill(words[`${unit}_part`], { n: count })} ${fill(words[`${smaller}_part`], { n: rest })}`;
  };
  const TICKS = {
    ago: (seconds) => (seconds < 1 ? words.now : fill(words.past, { length: coarse(seconds) })),
    for: rough,
    until: (seconds) => rough(Math.max(-seconds, 0)),
  };
  const tick = () => {
    for (const element of document.querySelectorAll("time[data-tick]")) {
      const seconds = (now() - Date.parse(element.dateTime)) / 1000;
      const text = TICKS[element.dataset.tick](Math.floor(seconds));
      if (element.textContent !== text) element.textContent = text;
    }
  };

  /* ---- refreshing: asked with the tag of what is shown; an equal page is neither sent nor looked at ---- */

  let tag = `W/"${document.body.dataset.tag}"`;
  let heard = Date.now();
  let missed = 0;
  let timer = 0;
  let loggedOut = false;
  const every = () => Number(document.body.dataset.poll) * 1000;

  const plan = () => {
    clearTimeout(timer);
    if (every() && !loggedOut && document.visibilityState === "visible") timer = setTimeout(poll, every());
  };
  const poll = () => {
    clearTimeout(timer);
    htmx.ajax("GET", location.pathname + location.search, { target: document.body, swap: "innerMorph", source: document.body });
  };
  const showAge = () => {
    const note = document.getElementById("stale");
    if (!note) return;
    const old = missed >= 2 || (loggedOut && missed > 0);
    note.hidden = !old;
    if (!old) return;
    const [fact, cause] = note.querySelectorAll("strong, span > span");
    const [again, login] = note.querySelectorAll("a");
    const set = (element, text) => { if (element.textContent !== text) element.textContent = text; };
    set(fact, fill(note.dataset.old, { age: coarse((Date.now() - heard) / 1000) }));
    set(cause, loggedOut ? note.dataset.out : fill(note.dataset.silent, { length: coarse(every() / 1000) }));
    again.hidden = loggedOut;
    login.hidden = !loggedOut;
    login.href = `/login?next=${encodeURIComponent(location.pathname + location.search)}`;
  };

  /* What is typed, ticked or chosen stays, and so does an open menu: the server knows nothing of it. */
  const isChanged = (element) => {
    if (element instanceof HTMLSelectElement) return [...element.options].some((option) => option.selected !== option.defaultSelected);
    if (element instanceof HTMLInputElement && /^(checkbox|radio)$/.test(element.type)) return element.checked !== element.defaultChecked;
    return "defaultValue" in element && element.value !== element.defaultValue;
  };
  htmx.registerExtension("page", {
    htmx_before_morph_node: (element) => !(element.matches?.("input, select, textarea") && isChanged(element)),
    htmx_config_request: (element, { ctx }) => {
      if (element === document.body) ctx.request.headers["If-None-Match"] = tag;
    },
    htmx_before_response: (element, { ctx }) => {
      if (element !== document.body) return;
      const { status, headers, raw } = ctx.response;
      loggedOut = status === 401 || new URL(raw.url).pathname === "/login";
      if (loggedOut || status >= 400) ctx.swap = "none";
      missed = status >= 400 || loggedOut ? missed + 1 : 0;
      if (!missed) {
        heard = Date.now();
        if (status === 200) tag = headers.get("ETag");
      }
    },
    htmx_error: (element) => { if (element === document.body) missed += 1; },
    htmx_finally_request: (element) => {
      if (element !== document.body) return;
      showAge();
      tick();
      mark();
      plan();
    },
  });

  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible" && every()) poll();
    else clearTimeout(timer);
  });
  setInterval(() => {
    if (document.visibilityState !== "visible") return;
    tick();
    showAge();
  }, 1000);

  /* ---- buttons: once pressed, a form is not sent a second time ---- */

  document.addEventListener("submit", (event) => {
    if (event.target.method !== "post") return;
    if (event.target.dataset.busy) { event.preventDefault(); return; }
    event.target.dataset.busy = "true";
    for (const button of event.target.querySelectorAll("button")) button.setAttribute("aria-disabled", "true");
    (event.submitter ?? event.target).classList.add("busy");
  });
  addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-busy]")) {
      delete form.dataset.busy;
      for (const button of form.querySelectorAll("button")) button.removeAttribute("aria-disabled");
    }
  });

  /* ---- keys ---- */

  const GO = { n: "/", t: "/tasks", l: "/timeline", s: "/statistics", d: "/deliveries", m: "/mutes" };
  let going = 0;
  let row = null;
  const mark = () => {
    if (row && !row.isConnected) row = null;
    for (const other of document.querySelectorAll("[data-row].here")) if (other !== row) other.classList.remove("here");
    row?.classList.add("here");
  };
  const move = (step) => {
    const rows = [...document.querySelectorAll("[data-row]")];
    if (!rows.length) return;
    const at = rows.indexOf(row);
    row = rows[at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + step, 0), rows.length - 1)];
    mark();
    (row.querySelector("a[href]") ?? row).focus();
  };
  const isTyping = (element) => element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName);
  const keys = {
    "/": () => document.querySelector('input[type="search"]')?.focus(),
    j: () => move(1),
    k: () => move(-1),
    a: () => ((document.activeElement.closest("[data-row]") ?? document).querySelector('[data-key="a"]'))?.focus(),
    "?": () => { location.href = "/keyboard"; },
  };
  document.addEventListener("keydown", (event) => {
    if (document.body.dataset.keys !== "on" || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (Date.now() - going < 1500 && GO[event.key]) {
      going = 0;
      location.href = GO[event.key];
      return;
    }
    going = event.key === "g" ? Date.now() : 0;
    const act = keys[event.key];
    if (act) {
      event.preventDefault();
      act();
    }
  });

  /* ---- the rest ---- */

  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-print]")) {
      event.preventDefault();
      print();
    }
    if (event.target.closest("#stale a:not([href^='/login'])")) {
      event.preventDefault();
      poll();
    }
    const menu = event.target.closest(".menu");
    for (const other of document.querySelectorAll(".menu[open]")) if (other !== menu) other.open = false;
    const all = event.target.closest("input[data-all]");
    if (all) for (const box of document.querySelectorAll(`input[name="${all.dataset.all}"]:not(:disabled)`)) box.checked = all.checked;
  });
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && document.activeElement.closest(".menu[open]");
    if (menu) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
  addEventListener("beforeprint", () => { for (const fold of document.querySelectorAll("details.fold")) fold.open = true; });
  document.querySelector("[data-focus]")?.focus();
  tick();
  plan();
})();
