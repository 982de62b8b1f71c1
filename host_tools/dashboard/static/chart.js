// A chart over time: a band from least to most and a line of the mean, with axes; and the same in words and numbers.

import { points as series, text } from "./clean.js";
import { el, keyed, put, setAttribute, setText, show, svg } from "./dom.js";
import { timeTicks, valueTicks } from "./scale.js";
import { many, moment, number, rough, unit, whole } from "./words.js";

const HIGH = 260;
const MARGIN = { top: 12, right: 14, bottom: 30, left: 62 };
const REFRESH_MS = 15000;
const RANGES = [
  [1, "1 h", "hour"],
  [24, "24 h", "24 hours"],
  [168, "7 d", "7 days"],
  [720, "30 d", "30 days"],
];
// Where points are missing for so many of their usual distances, the line is broken.
const GAP = 3.5;

export class Chart {
  #state;
  #what = null;
  #hours = 1;
  #points = [];
  #asked = -Infinity;
  #asking = null;

  constructor(state) {
    this.#state = state;
    this.title = el("h2", { id: "chart-heading" }, "Over time");
    this.status = el("p", { class: "faint", role: "status" });
    this.summary = el("p", { id: "chart-summary" });
    this.readout = el("p", { class: "readout faint", "aria-hidden": "true" });
    this.svg = svg("svg", { class: "chart", role: "img", "aria-labelledby": "chart-heading chart-summary", height: HIGH });
    this.body = el("tbody");
    this.column = ["Least", "Mean", "Most"].map((name) => el("th", { scope: "col" }, name));
    const head = el("tr", {}, el("th", { scope: "col" }, "Time"), ...this.column);
    this.caption = el("caption");
    const table = el("table", {}, this.caption, el("thead", {}, head), this.body);
    const scroller = el("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": "The chart's values" }, table);
    this.table = el("details", {}, el("summary", {}, "As a table"), scroller);
    this.table.addEventListener("toggle", () => this.#drawTable());
    const ranges = RANGES.map(([hours, name, long]) => this.#range(hours, name, long));
    const choice = el("fieldset", { class: "ranges" }, el("legend", { class: "unseen" }, "How far back"), ...ranges);
    this.figure = el("div", { class: "figure" }, this.svg, this.readout);
    this.node = el("section", { class: "card wide", "aria-labelledby": "chart-heading" });
    this.node.append(el("div", { class: "beside" }, this.title, choice), this.status, this.figure, this.summary, this.table);
    this.svg.addEventListener("pointermove", (event) => this.#point(event));
    this.svg.addEventListener("pointerleave", () => this.#point(null));
    new ResizeObserver(() => this.#draw()).observe(this.figure);
  }

  #range(hours, name, long) {
    const input = el("input", { type: "radio", name: "hours", value: hours, checked: hours === this.#hours });
    input.addEventListener("change", () => {
      this.#hours = hours;
      this.#ask();
    });
    return el("label", {}, input, el("span", { "aria-hidden": "true" }, name), el("span", { class: "unseen" }, `the last ${long}`));
  }

  /** Shows a quantity. what: {device, sensor, quantity, unit}, or null for none. */
  open(what) {
    const same = what && this.#what && ["device", "sensor", "quantity"].every((key) => what[key] === this.#what[key]);
    this.#what = what;
    show(this.node, what !== null);
    if (same) return;
    this.#points = [];
    this.#asking?.abort();
    this.#asking = null;
    if (!what) return;
    put(this.title, `${what.sensor} ${what.quantity} over time`.trim(), 80);
    this.#ask();
  }

  /** Asks anew now and then, while it can be seen. */
  tick() {
    const old = performance.now() - this.#asked > REFRESH_MS * Math.sqrt(this.#hours);
    if (this.#what && old && !this.#asking && document.visibilityState === "visible") this.#ask();
  }

  async #ask() {
    this.#asking?.abort();
    const asking = (this.#asking = new AbortController());
    const { device, sensor, quantity } = this.#what;
    this.#asked = performance.now();
    if (!this.#points.length) setText(this.status, "Loading \u2026");
    let said = "";
    try {
      const query = new URLSearchParams({ device, sensor, quantity, hours: this.#hours });
      const signal = AbortSignal.any([asking.signal, AbortSignal.timeout(20000)]);
      const answer = await fetch(`/api/series?${query}`, { signal });
      if (answer.status === 401) return void location.reload();
      const found = await answer.json().catch(() => null);
      if (!answer.ok) throw new Error(text(found?.error) || `the server says ${answer.status}`);
      this.#points = series(found);
      if (!this.#points.length) said = "Nothing is stored of this time.";
    } catch (error) {
      if (asking.signal.aborted) return;
      this.#points = [];
      said = `Stored values cannot be shown: ${error.name === "TimeoutError" ? "no answer within 20 s" : error.message}.`;
    }
    if (this.#asking !== asking) return;
    this.#asking = null;
    put(this.status, said, 300);
    show(this.status, said !== "");
    this.#draw();
    this.#drawSummary();
    this.#drawTable();
  }

  #drawSummary() {
    const points = this.#points;
    show(this.summary, points.length > 0);
    show(this.table, points.length > 0);
    if (!points.length) return;
    const now = this.#state.now();
    const least = points.reduce((a, b) => (b[1] < a[1] ? b : a));
    const most = points.reduce((a, b) => (b[3] > a[3] ? b : a));
    const mean = points.reduce((sum, p) => sum + p[2] / points.length, 0);
    const last = points[points.length - 1];
    const say = (n) => `${rough(n)} ${unit(this.#what.unit)}`.trim();
    const range = RANGES.find(([hours]) => hours === this.#hours)[2];
    const parts = [
      `The last ${range}, ${many(points.length, "point")}, each for all values of its stretch of time:`,
      `least ${say(least[1])} (about ${moment(least[0], now)}),`,
      `most ${say(most[3])} (about ${moment(most[0], now)}),`,
      `mean ${say(mean)},`,
      `last ${say(last[2])} (about ${moment(last[0], now)}).`,
    ];
    put(this.summary, parts.join(" "), 600);
    put(this.caption, `${this.#what.sensor} ${this.#what.quantity}, ${unit(this.#what.unit)}`, 80);
  }

  #drawTable() {
    if (!this.table.open) return;
    const now = this.#state.now();
    const make = () => el("tr", {}, el("th", { scope: "row" }), el("td"), el("td"), el("td"));
    keyed(this.body, [...this.#points].reverse(), (p) => String(p[0]), make, (node, [t, ...values]) => {
      setText(node.firstChild, moment(t, now));
      setAttribute(node.firstChild, "title", whole(t));
      values.slice(0, 3).forEach((v, i) => setText(node.children[i + 1], number(v)));
    });
  }

  #draw() {
    const points = this.#points;
    show(this.figure, points.length > 0);
    const wide = Math.floor(this.figure.clientWidth);
    if (!points.length || wide < 120) return;
    const now = this.#state.now();
    const until = Math.max(now, points[points.length - 1][0]);
    const since = Math.min(now - this.#hours * 3600, points[0][0]);
    const values = valueTicks(Math.min(...points.map((p) => p[1])), Math.max(...points.map((p) => p[3])), 5);
    const right = wide - MARGIN.right;
    const bottom = HIGH - MARGIN.bottom;
    const x = (t) => MARGIN.left + ((t - since) / (until - since)) * (right - MARGIN.left);
    const y = (v) => bottom - ((v / 2 - values.low / 2) / (values.high / 2 - values.low / 2)) * (bottom - MARGIN.top);
    this.scale = { x, y, bottom };
    setAttribute(this.svg, "viewBox", `0 0 ${wide} ${HIGH}`);
    setAttribute(this.svg, "width", wide);
    const grid = values.ticks.flatMap(({ at, label }) => [
      svg("line", { class: "grid", x1: MARGIN.left, x2: right, y1: y(at), y2: y(at) }),
      svg("text", { x: MARGIN.left - 8, y: y(at) + 4, "text-anchor": "end" }, label),
    ]);
    for (const { at, label } of timeTicks(since, until, Math.max(2, Math.floor((right - MARGIN.left) / 80)))) {
      grid.push(svg("line", { class: "tick", x1: x(at), x2: x(at), y1: bottom, y2: bottom + 5 }));
      grid.push(svg("text", { x: x(at), y: bottom + 20, "text-anchor": "middle" }, label));
    }
    const name = svg("text", { class: "unit", x: 4, y: MARGIN.top + 4 });
    put(name, unit(this.#what.unit), 6);
    this.cross = svg("g", { class: "cross", visibility: "hidden" }, svg("line", { y1: MARGIN.top, y2: bottom }), svg("circle", { r: 3.5 }));
    this.svg.replaceChildren(...grid, name, ...runs(points).flatMap((run) => shapes(run, x, y)), this.cross);
    this.#point(null);
  }

  #point(event) {
    const points = this.#points;
    if (!points.length || !this.cross) return;
    setAttribute(this.cross, "visibility", event ? "visible" : "hidden");
    setText(this.readout, event ? "" : "\u00a0");
    if (!event) return;
    const at = event.clientX - this.svg.getBoundingClientRect().left;
    const { x, y } = this.scale;
    const near = points.reduce((a, b) => (Math.abs(x(b[0]) - at) < Math.abs(x(a[0]) - at) ? b : a));
    const [line, dot] = this.cross.children;
    for (const end of ["x1", "x2"]) setAttribute(line, end, x(near[0]));
    setAttribute(dot, "cx", x(near[0]));
    setAttribute(dot, "cy", y(near[2]));
    const band = near[1] === near[3] ? "" : ` (${rough(near[1])} to ${rough(near[3])})`;
    put(this.readout, `${moment(near[0], this.#state.now())}: ${rough(near[2])} ${unit(this.#what.unit)}${band}`, 120);
  }
}

/** Points in runs without gaps. */
export function runs(points) {
  const steps = points.slice(1).map((p, i) => p[0] - points[i][0]);
  const usual = [...steps].sort((a, b) => a - b)[Math.floor(steps.length / 2)] ?? 0;
  const found = [[points[0]]];
  steps.forEach((step, i) => {
    if (step > usual * GAP) found.push([]);
    found[found.length - 1].push(points[i + 1]);
  });
  return found;
}

function shapes(run, x, y) {
  if (run.length === 1) {
    const [[t, least, mean, most]] = run;
    return [
      svg("line", { class: "band-line", x1: x(t), x2: x(t), y1: y(least), y2: y(most) }),
      svg("circle", { class: "dot", cx: x(t), cy: y(mean), r: 2.5 }),
    ];
  }
  const path = (row, value) => row.map((p) => `${x(p[0]).toFixed(1)},${y(p[value]).toFixed(1)}`).join(" ");
  return [
    svg("polygon", { class: "band", points: `${path(run, 3)} ${path([...run].reverse(), 1)}` }),
    svg("polyline", { class: "mean", points: path(run, 2) }),
  ];
}
