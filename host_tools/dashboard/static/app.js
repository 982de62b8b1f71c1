// The page: what the server says goes into the state, and from there at most twice a second onto the screen.

import { Device } from "./device.js";
import { el, keyed, put, setAttribute, setText, show } from "./dom.js";
import { connect } from "./feed.js";
import { List } from "./list.js";
import { State } from "./state.js";
import { count, moment, number } from "./words.js";

const DRAW_MS = 450;
const $ = (id) => document.getElementById(id);

const state = new State();
const list = new List(state);
const link = { phase: "connecting", until: 0, lost: null };
const feed = connect({ message, phase, locked: () => location.reload() });
const device = new Device($("device"), state);

let drawn = -Infinity;
let waiting = false;

/** Draws soon: in one frame, and at most twice a second. */
function draw() {
  if (waiting) return;
  waiting = true;
  const pause = drawn + DRAW_MS - performance.now();
  const frame = () => requestAnimationFrame(drawNow);
  if (pause > 0) setTimeout(frame, pause);
  else frame();
}

function drawNow() {
  waiting = false;
  drawn = performance.now();
  drawTop();
  if (device.id === null) list.draw();
  else device.draw();
}

const TAKEN = {
  hello: (said) => state.hello(said),
  devices: (said) => state.rows(said),
  broker: (said) => state.link(said),
  device: (said) => device.take(said.device),
};

function message(said) {
  if (!Object.hasOwn(TAKEN, said.type)) return;
  TAKEN[said.type](said);
  if (said.all === true) list.arrange();
  draw();
}

function phase(name, until = 0) {
  if (name !== "open" && link.phase === "open") link.lost = state.now();
  Object.assign(link, { phase: name, until });
  drawTop();
}

// A try that may fail again is no news: what is said changes only when it is lost, and when it is back.
function linkWords() {
  if (link.phase !== "open") return link.lost === null && link.phase === "connecting" ? ["connecting", "Connecting"] : ["lost", "Connection lost"];
  if (state.connected === null) return ["connecting", "Connecting"];
  return state.connected ? ["live", "Live"] : ["away", "Broker away"];
}

function notice(kind) {
  if (kind === "lost") {
    const left = Math.ceil((link.until - performance.now()) / 1000);
    const next = link.phase === "connecting" || left <= 0 ? "Trying again now." : `Trying again in ${left} s.`;
    const old = link.lost === null ? "" : ` What you see is from ${moment(link.lost, state.now())}.`;
    return ["No connection to the server of this page.", `${next}${old} If it does not come back: is \`rootlet dashboard\` running?`];
  }
  if (kind === "away") {
    const why = state.trouble.length ? `${state.trouble.join("; ")}.` : "`rootlet doctor` says more.";
    return ["The broker cannot be reached.", `What you see is from before. It comes back by itself; ${why}`];
  }
  return null;
}

function drawTop() {
  const [kind, words] = linkWords();
  setAttribute($("link"), "data-phase", kind);
  setText($("link-text"), words);
  put($("broker"), state.broker, 40);
  const said = notice(kind);
  show($("notice"), said !== null);
  show($("try-now"), kind === "lost");
  if (said) {
    setText($("notice-text"), said[0]);
    put($("notice-more"), said[1], 600);
  }
  // Who is known by a certificate cannot log out.
  show($("logout"), !state.certificates);
  drawTotals();
}

function drawTotals() {
  const seen = state.summary();
  const told = (name, otherwise) => (Number.isFinite(state.totals[name]) ? state.totals[name] : otherwise);
  const rate = told("rate", seen.rate) / 60;
  const rows = [
    ["online", count(told("online", seen.online)), ""],
    ["offline", count(told("offline", seen.offline)), told("offline", seen.offline) ? "bad" : ""],
    ["readings/s", number(rate >= 10 ? Math.round(rate) : Number(rate.toFixed(1))), ""],
    ["in trouble", count(told("trouble", seen.trouble)), told("trouble", seen.trouble) ? "bad" : ""],
  ];
  const make = ([name]) => el("div", {}, el("dt", {}, name), el("dd"));
  keyed($("totals"), rows, (row) => row[0], make, (node, [, words, kind]) => {
    setText(node.lastChild, words);
    setAttribute(node, "data-kind", kind || null);
  });
}

/** The device in the address, or null for the list. What cannot be read is the list. */
function routed() {
  const found = /^#\/device\/(.+)$/.exec(location.hash);
  if (!found) return null;
  try {
    return decodeURIComponent(found[1]);
  } catch {
    return null;
  }
}

let scrolled = 0;

function route(first) {
  // A token in the address of a page that is open already is not needed, and must not stay there.
  if (location.hash.startsWith("#token=")) history.replaceState(null, "", location.pathname);
  const id = routed();
  const before = device.id;
  if (id === before && !first) return;
  if (before === null && id !== null) scrolled = window.scrollY;
  device.open(id);
  feed.device(id);
  show($("list"), id === null);
  show($("device"), id !== null);
  setText($("skip"), id === null ? "Skip to the devices" : "Skip to the device");
  document.title = id === null ? "Rootlet" : `${device.title} \u00b7 Rootlet`;
  if (id === null) {
    list.arrange();
    list.draw();
    if (!first) {
      window.scrollTo(0, scrolled);
      list.focus(before);
    }
  } else {
    window.scrollTo(0, 0);
    device.draw();
    if (!first) device.focus();
  }
}

function keys(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  const typing = event.target.closest?.("input, select, textarea");
  if (event.key === "/" && !typing) {
    event.preventDefault();
    if (device.id !== null) location.hash = "#/";
    // At once, so that what is typed next is not lost.
    route(false);
    $("search").focus();
  } else if (event.key === "Escape" && event.target === $("search")) {
    $("search").value = "";
    $("search").dispatchEvent(new Event("input"));
  } else if (event.key === "Escape" && device.id !== null) {
    location.hash = "#/";
  }
}

function theme() {
  const root = document.documentElement;
  $("theme").value = root.dataset.theme ?? "";
  $("theme").addEventListener("change", () => {
    const chosen = $("theme").value;
    if (chosen) root.dataset.theme = chosen;
    else delete root.dataset.theme;
    try {
      if (chosen) localStorage.setItem("theme", chosen);
      else localStorage.removeItem("theme");
    } catch {
      // storage is switched off: it holds until the page is left
    }
  });
}

// A plain fragment would be taken as an address of the page.
$("skip").addEventListener("click", (event) => {
  event.preventDefault();
  $("main").focus();
});
$("try-now").addEventListener("click", () => feed.now());
window.addEventListener("hashchange", () => route(false));
document.addEventListener("keydown", keys);
setInterval(() => {
  drawTop();
  if (device.id === null) list.tick();
  else device.tick();
}, 1000);
theme();
route(true);
drawTop();
