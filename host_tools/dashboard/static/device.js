// One device's page: everything that is known of it.

import * as clean from "./clean.js";
import { Chart } from "./chart.js";
import { bdi, el, keyed, put, setAttribute, setText, show, visible } from "./dom.js";
import { Log } from "./log.js";
import { problems } from "./problems.js";
import * as draw from "./row.js";
import { drawSpark, makeSpark } from "./spark.js";
import { mergeSparks } from "./state.js";
import { ago, count, many, NOTHING, number, rough, span, unit, value } from "./words.js";

const SPARK = 120;
const SHOWN_ELSEWHERE = /^(device|status|version|reset|broker|rssi|cert_days|handshake_ms|trouble|last_error|tls|outbox|reconnects)\b/;

const section = (id, title, ...children) =>
  el("section", { class: "card", "aria-labelledby": `${id}-heading` }, el("h2", { id: `${id}-heading` }, title), ...children);

export class Device {
  #state;
  #entry = null;
  #asked = 0;
  #chosen = null;
  id = null;

  constructor(root, state) {
    this.#state = state;
    this.chart = new Chart(state);
    this.log = new Log(state);
    this.heading = el("h1", { tabindex: "-1" }, bdi(""));
    this.mark = draw.statusMark();
    this.word = el("strong");
    this.since = el("span");
    this.seen = el("time");
    this.absent = el("p", { class: "card wide", hidden: true });
    this.problems = el("ul", { class: "problems" });
    this.readings = el("ul", { class: "cards" });
    this.connection = el("dl", { class: "facts" });
    this.reconnects = el("tbody");
    this.running = el("dl", { class: "facts" });
    this.rest = el("dl", { class: "facts" });
    this.heard = el("tbody");
    const line = el("p", { class: "status-line" }, this.mark, this.word, " ", this.since, " \u00b7 last heard ", this.seen);
    const top = el("div", { class: "device-top" }, el("a", { class: "back", href: "#/" }, "\u2190 All devices"), this.heading, line);
    this.problemSection = section("problems", "Problems", this.problems);
    this.readingSection = section("readings", "Readings", this.readings);
    this.problemSection.classList.add("wide");
    this.readingSection.classList.add("wide");
    this.reconnectTable = table("Reconnects since its start, by reason", ["Reason", "Times"], this.reconnects);
    this.heardSection = section("bluetooth", "Bluetooth sensors", table("Sensors that it hears", ["Sensor", "Address", "Signal", "Last heard"], this.heard));
    this.restDetails = el("details", {}, el("summary", {}, "Everything that it says of itself"), this.rest);
    this.body = el("div", { class: "sections" });
    this.body.append(
      this.problemSection,
      this.readingSection,
      this.chart.node,
      section("connection", "Connection", this.connection, this.reconnectTable),
      section("running", "Device", this.running, this.restDetails),
      this.heardSection,
      this.log.node,
    );
    root.append(top, this.absent, this.body);
  }

  /** The device's name, for the window's title. */
  get title() {
    return visible(this.id ?? "").slice(0, 80);
  }

  /** Shows a device, or none with null. */
  open(id) {
    if (id === this.id) return;
    this.id = id;
    this.#entry = null;
    this.#chosen = null;
    this.#asked = performance.now();
    this.chart.open(null);
    this.log.open(id);
    if (id !== null) put(this.heading.firstChild, id, 128);
  }

  focus() {
    this.heading.focus();
  }

  /** Takes in a detail from the server. */
  take(said) {
    const row = clean.detail(said);
    if (!row || row.id !== this.id) return;
    const sparks = this.#entry?.sparks ?? new Map();
    mergeSparks(sparks, row.readings, SPARK);
    this.#entry = { row, sparks, problems: problems(row) };
    this.log.add(row.events);
  }

  /** Draws what has changed. */
  draw() {
    if (this.id === null) return;
    // Until the detail is there, what the list knows.
    const entry = this.#entry ?? this.#state.devices.get(this.id);
    show(this.body, Boolean(entry));
    show(this.absent, !entry);
    if (!entry) {
      const late = this.#state.ready && performance.now() - this.#asked > 1500;
      setText(this.absent, late ? "No device of this name has been heard. It will appear here when it publishes." : "Looking for it \u2026");
      show(this.mark.parentNode, false);
      return;
    }
    show(this.mark.parentNode, true);
    this.#drawTimes(entry);
    const { row } = entry;
    draw.drawStatus(this.mark, row.status);
    setText(this.word, row.status);
    show(this.problemSection, entry.problems.length > 0);
    keyed(this.problems, entry.problems, (p) => `${p.code}\u0000${p.fact}`, makeProblem, (node, p) => this.#drawProblem(node, p));
    this.#drawReadings(row);
    this.#drawFacts(row);
  }

  /** Once a second. */
  tick() {
    const entry = this.#entry ?? this.#state.devices.get(this.id);
    if (entry) this.#drawTimes(entry);
    else this.draw();
    this.chart.tick();
    this.log.tick();
  }

  #drawTimes({ row }) {
    const now = this.#state.now();
    draw.drawAgo(this.seen, row.seen, now);
    setText(this.since, row.since === null || now < row.since ? "" : `for ${row.sinceKnown ? "" : "at least "}${span(now - row.since)}`);
    for (const node of this.readings.children) draw.drawAgo(node.parts.time, node.at, now);
  }

  #drawProblem(node, problem) {
    const { parts } = node;
    draw.drawProblemMark(parts.mark, problem.level);
    setText(parts.level, `${draw.levelWord(problem.level)}: `);
    put(parts.code, problem.code, 64);
    put(parts.what, problem.text, 300);
    for (const name of ["fact", "fix"]) {
      put(parts[name], problem[name], 300);
      show(parts[name].parentNode, problem[name] !== "" && problem[name] !== problem.text);
    }
    show(parts.when, problem.when !== null);
    if (problem.when !== null) draw.drawAgo(parts.when, problem.when, this.#state.now());
  }

  #drawReadings(row) {
    const shown = row.readings;
    show(this.readingSection, shown.length > 0);
    const numeric = shown.filter((reading) => reading.spark.length > 0 || typeof reading.value === "number");
    if (!numeric.some((reading) => reading.key === this.#chosen)) this.#chosen = numeric[0]?.key ?? null;
    keyed(this.readings, shown, (reading) => reading.key, () => this.#makeReading(), (node, reading) => {
      const { parts } = node;
      const name = `${reading.sensor} ${reading.quantity}`.trim();
      node.at = reading.time;
      node.key = reading.key;
      put(parts.name, name || NOTHING, 60);
      put(parts.value, value(reading.value), 120);
      put(parts.unit, unit(reading.unit), 16);
      drawSpark(parts.spark, reading.spark);
      setText(parts.range, rangeWords(reading.spark));
      draw.drawAgo(parts.time, reading.time, this.#state.now());
      show(parts.button, numeric.includes(reading));
      setAttribute(parts.button, "aria-pressed", reading.key === this.#chosen);
      put(parts.of, name, 60);
    });
    const reading = numeric.find((one) => one.key === this.#chosen);
    this.chart.open(reading ? { device: row.id, ...reading } : null);
  }

  #makeReading() {
    const parts = { name: bdi(""), value: bdi(""), unit: el("span", { class: "unit" }), spark: makeSpark(), range: el("span"), time: el("time"), of: bdi("") };
    parts.button = el("button", { type: "button" }, "Chart", el("span", { class: "unseen" }, " of ", parts.of));
    const node = el(
      "li",
      { class: "reading-card" },
      el("h3", {}, parts.name),
      el("p", { class: "big" }, parts.value, " ", parts.unit),
      parts.spark,
      el("p", { class: "faint beside" }, parts.range, parts.time),
      parts.button,
    );
    parts.button.addEventListener("click", () => {
      this.#chosen = node.key;
      this.draw();
      this.chart.node.scrollIntoView({ block: "nearest" });
    });
    node.parts = parts;
    return node;
  }

  #drawFacts(row) {
    // Until the detail is there, only the row.
    const said = row.said ?? {};
    const facts = said.facts !== null && typeof said.facts === "object" ? said.facts : {};
    const ms = row.handshake === null ? "" : `${count(row.handshake)} ms`;
    const at = (name) => clean.text(facts[name]);
    pairs(this.connection, [
      ["Broker", row.broker],
      ["TLS version", row.tls?.[0]],
      ["Cipher suite", row.tls?.[1]],
      ["Last connection took", ms],
      ["Its certificate", row.certDays > 0 ? `${draw.certWords(row.certDays)} left` : draw.certWords(row.certDays)],
      ["Signal", draw.signalWords(row.rssi)],
      ["Outbox at the last status", draw.outboxWords(row.outbox)],
      ["Readings a minute", number(row.rate >= 10 ? Math.round(row.rate) : row.rate)],
      ["Readings missing", count(row.lost)],
    ]);
    show(this.reconnectTable, row.reconnects.length > 0);
    rows(this.reconnects, row.reconnects.map(([code, n]) => [code, count(n)]));
    const up = clean.finite(facts.uptime_s);
    pairs(this.running, [
      ["Firmware", row.version],
      ["Started because of", at("reset")],
      [row.status === "online" ? "Running for" : "Had been running for", up === null ? "" : `${span(up)} at the last status`],
      ["Starts", at("boots")],
      ["Crashes", at("crashes")],
      ["Last error", [at("last_error.code"), at("last_error.fact")].filter(Boolean).join(": ")],
    ]);
    const rest = Object.entries(facts).filter(([name]) => !SHOWN_ELSEWHERE.test(name));
    show(this.restDetails, rest.length > 0);
    pairs(this.rest, rest.slice(0, 200).map(([name, v]) => [name, value(v)]));
    const heard = Array.isArray(said.bluetooth) ? said.bluetooth.filter((one) => one !== null && typeof one === "object") : [];
    show(this.heardSection, heard.length > 0);
    const now = this.#state.now();
    rows(
      this.heard,
      heard.slice(0, 256).map((one) => [one.sensor, one.address, draw.signalWords(clean.finite(one.rssi)), ago(one.time, now)]),
    );
  }
}

const rangeWords = (spark) =>
  spark.length < 2 ? "" : `${rough(Math.min(...spark))} \u2026 ${rough(Math.max(...spark))} in the last ${many(spark.length, "value")}`;

function table(caption, names, body) {
  const head = el("tr", {}, ...names.map((name) => el("th", { scope: "col" }, name)));
  return el("table", {}, el("caption", {}, caption), el("thead", {}, head), body);
}

function makeProblem() {
  const parts = { mark: draw.problemMark(), level: el("span", { class: "unseen" }), code: bdi(""), what: bdi(""), fact: bdi(""), fix: bdi(""), when: el("time", { class: "faint" }) };
  const head = el("p", {}, parts.mark, " ", parts.level, el("strong", {}, parts.code), " ", parts.what, " ", parts.when);
  const node = el("li", {}, head, el("p", { class: "faint" }, "Observed: ", parts.fact), el("p", {}, "What to do: ", parts.fix));
  node.parts = parts;
  return node;
}

/** A list of names and values. */
function pairs(node, entries) {
  const make = () => el("div", {}, el("dt", {}, bdi("")), el("dd", {}, bdi("")));
  keyed(node, entries, (entry) => entry[0], make, (one, [name, words]) => {
    put(one.firstChild.firstChild, name, 64);
    put(one.lastChild.firstChild, words === "" || words === null || words === undefined ? NOTHING : words, 200);
  });
}

/** A table's rows of texts; the first of each is its name. */
function rows(body, entries) {
  const make = (entry) => el("tr", {}, ...entry.map((_, i) => el(i ? "td" : "th", i ? {} : { scope: "row" }, bdi(""))));
  keyed(body, entries, (entry) => String(entry[0]), make, (node, entry) => {
    entry.forEach((words, i) => put(node.children[i].firstChild, value(words), 64));
  });
}
