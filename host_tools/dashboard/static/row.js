// One device in the list. Its elements are made once and then only changed.

import { bdi, el, put, setAttribute, setText, show, svg } from "./dom.js";
import { backlog, signal, UNDER_WAY } from "./problems.js";
import { drawSpark, makeSpark } from "./spark.js";
import { ago, count, iso, many, NOTHING, span, unit, value, whole } from "./words.js";

const MOST_SHOWN = 4;
const SHAPES = {
  online: "M6 1a5 5 0 1 0 0 10A5 5 0 1 0 6 1Z",
  offline: "M1.5 1.5 10.5 10.5M10.5 1.5 1.5 10.5",
  unknown: "M6 1 11 6 6 11 1 6Z",
};
const MARKS = { 3: "M6 1 11.5 11H.5Z", 2: "M1.5 1.5h9v9h-9Z", 1: "M6 2a4 4 0 1 0 0 8A4 4 0 1 0 6 2Z" };
const LEVELS = { 3: "Problem", 2: "Warning", 1: "Note" };

export const address = (id) => `#/device/${encodeURIComponent(id)}`;

/** A mark whose shape says a status; the word stands beside it. */
export function statusMark() {
  return svg("svg", { class: "mark", viewBox: "0 0 12 12", "aria-hidden": "true" }, svg("path", {}));
}

export function drawStatus(mark, status) {
  setAttribute(mark, "data-status", status);
  setAttribute(mark.firstChild, "d", SHAPES[status]);
}

/** <time> that says how long ago something was, and goes on by itself. */
export function drawAgo(node, at, now) {
  setText(node, ago(at, now));
  setAttribute(node, "datetime", iso(at));
  setAttribute(node, "title", whole(at) || null);
}

/** Bars of a signal. */
export function signalBars() {
  const bars = [1, 2, 3, 4].map((n) => svg("rect", { x: n * 4 - 4, y: 12 - n * 3, width: 3, height: n * 3, rx: 0.5 }));
  return svg("svg", { class: "bars", viewBox: "0 0 15 12", "aria-hidden": "true" }, ...bars);
}

export function drawSignal(node, rssi) {
  setAttribute(node, "data-bars", rssi === null ? 0 : signal(rssi).bars);
}

export const signalWords = (rssi) => (rssi === null ? NOTHING : `${value(rssi)} dBm, ${signal(rssi).word}`);

export const certWords = (days) =>
  days === null ? NOTHING : days < 0 ? `ended ${many(-days, "day")} ago` : many(days, "day");

export function outboxWords(outbox) {
  const waiting = backlog(outbox);
  if (waiting === null) return NOTHING;
  const dropped = outbox.dropped > 0 ? `, ${count(outbox.dropped)} dropped` : "";
  return `${waiting === 0 ? "no backlog" : `${count(waiting)} waiting`}${dropped}`;
}

/** What the words are about; null where there are none. */
export const outboxTitle = (outbox) =>
  backlog(outbox) === null ? null : `At the last status: ${many(outbox.depth, "reading")} not yet acknowledged; up to ${UNDER_WAY} may be under way.`;

/** A problem's shape, by its level. */
export function problemMark() {
  return svg("svg", { class: "mark", viewBox: "0 0 12 12", "aria-hidden": "true" }, svg("path", {}));
}

export function drawProblemMark(mark, level) {
  setAttribute(mark, "data-level", level);
  setAttribute(mark.firstChild, "d", MARKS[level]);
}

export const levelWord = (level) => LEVELS[level];

function makeReading() {
  const parts = { name: bdi(""), value: bdi(""), unit: el("span"), spark: makeSpark() };
  const name = el("span", { class: "name" }, parts.name);
  const node = el("span", { class: "reading" }, name, " ", el("span", { class: "value" }, parts.value, " ", parts.unit), parts.spark);
  node.parts = parts;
  return node;
}

function drawReading(node, reading) {
  const { parts } = node;
  put(parts.name, `${reading.sensor} ${reading.quantity}`.trim(), 40);
  put(parts.value, value(reading.value), 24);
  put(parts.unit, unit(reading.unit), 12);
  drawSpark(parts.spark, reading.spark);
}

const cell = (name, label, ...children) => el("div", { role: "cell", class: `cell ${name}`, "data-label": label }, ...children);

/** A row; it says only its name until it is drawn. */
export function makeRow(id) {
  const name = el("a", { class: "device-name", href: address(id) }, bdi(id, 64));
  const node = el("div", { role: "row", class: "row" }, cell("who", "Device", name));
  node.deviceId = id;
  return node;
}

function build(node) {
  const parts = {
    version: bdi(""),
    mark: statusMark(),
    status: el("span", { class: "word" }),
    since: el("span", { class: "faint" }),
    readings: [],
    readingsCell: cell("readings", "Readings"),
    more: el("span", { class: "faint more" }),
    cert: el("span"),
    outbox: el("span"),
    bars: signalBars(),
    signal: el("span"),
    seen: el("time"),
    problemMark: problemMark(),
    problem: el("span", { class: "unseen" }),
    code: bdi(""),
    what: bdi(""),
    others: el("span", { class: "faint" }),
  };
  parts.problems = cell("problem", "Problem", parts.problem, parts.problemMark, el("strong", {}, parts.code), " ", parts.what, " ", parts.others);
  parts.readingsCell.append(parts.more);
  node.firstChild.append(el("span", { class: "faint version" }, parts.version));
  node.append(
    cell("status", "Status", parts.mark, el("span", {}, parts.status, " ", parts.since)),
    parts.readingsCell,
    cell("cert", "Certificate", parts.cert),
    cell("outbox", "Outbox", parts.outbox),
    cell("signal", "Signal", parts.bars, parts.signal),
    cell("seen", "Last heard", parts.seen),
    parts.problems,
  );
  node.parts = parts;
}

/** Draws what has changed in a row. entry: of the state; now: Unix seconds. */
export function drawRow(node, entry, now) {
  if (!node.parts) build(node);
  const { row, problems } = entry;
  const { parts } = node;
  setAttribute(node, "data-level", problems[0]?.level ?? 0);
  put(parts.version, row.version, 24);
  drawStatus(parts.mark, row.status);
  setText(parts.status, row.status);
  row.readings.slice(0, MOST_SHOWN).forEach((reading, i) => {
    if (!parts.readings[i]) {
      parts.readings[i] = makeReading();
      parts.more.before(parts.readings[i]);
    }
    drawReading(parts.readings[i], reading);
    show(parts.readings[i], true);
  });
  for (const unused of parts.readings.slice(row.readings.length)) show(unused, false);
  const more = row.more + Math.max(0, row.readings.length - MOST_SHOWN);
  setText(parts.more, row.readings.length === 0 ? NOTHING : more > 0 ? `and ${count(more)} more` : "");
  setText(parts.cert, certWords(row.certDays));
  setText(parts.outbox, outboxWords(row.outbox));
  setAttribute(parts.outbox, "title", outboxTitle(row.outbox));
  drawSignal(parts.bars, row.rssi);
  setText(parts.signal, row.rssi === null ? NOTHING : `${value(row.rssi)} dBm`);
  setAttribute(parts.signal, "title", row.rssi === null ? null : signal(row.rssi).word);
  const told = problems.filter((problem) => !problem.plain);
  const [worst] = told;
  show(parts.problems, Boolean(worst));
  if (worst) {
    drawProblemMark(parts.problemMark, worst.level);
    setText(parts.problem, `${levelWord(worst.level)}: `);
    put(parts.code, worst.code, 40);
    put(parts.what, worst.text, 160);
    setText(parts.others, told.length > 1 ? `and ${count(told.length - 1)} more` : "");
  }
  node.drawn = entry.revision;
  drawTimes(node, entry, now);
}

/** Draws what changes with time alone. */
export function drawTimes(node, { row }, now) {
  drawAgo(node.parts.seen, row.seen, now);
  setText(node.parts.since, row.since === null || now < row.since ? "" : `for ${row.sinceKnown ? "" : "at least "}${span(now - row.since)}`);
}
