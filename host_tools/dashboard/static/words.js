// Numbers, times and units in words.

export const NOTHING = "\u2013";

const TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const SHORT = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const WHOLE = new Intl.DateTimeFormat("en-GB", { dateStyle: "full", timeStyle: "long" });
const COUNT = new Intl.NumberFormat("en-GB");
const LAST_TIME = 8.64e12;

const isTime = (at) => typeof at === "number" && Number.isFinite(at) && at > 0 && at < LAST_TIME;

/** A moment's date and time with its zone, in full. at: Unix seconds, or null. */
export const whole = (at) => (isTime(at) ? WHOLE.format(at * 1000) : "");

/** Hours and minutes. */
export const minute = (at) => SHORT.format(at * 1000);

/** Day and month. */
export const day = (at) => DAY.format(at * 1000);

/** A moment: the time, and the day where it is not today's. */
export function moment(at, now) {
  if (!isTime(at)) return NOTHING;
  const same = new Date(at * 1000).toDateString() === new Date(now * 1000).toDateString();
  return same ? TIME.format(at * 1000) : `${DAY.format(at * 1000)}, ${TIME.format(at * 1000)}`;
}

/** For <time datetime>. */
export const iso = (at) => (isTime(at) ? new Date(at * 1000).toISOString() : null);

const STEPS = [
  [86400, "d"],
  [3600, "h"],
  [60, "min"],
];

/** A length of time in its largest unit. */
export function span(seconds) {
  for (const [length, name] of STEPS) if (seconds >= length) return `${COUNT.format(Math.floor(seconds / length))} ${name}`;
  return `${Math.max(0, Math.floor(seconds))} s`;
}

/** How long ago, both in Unix seconds. */
export function ago(at, now) {
  if (!isTime(at)) return "never";
  return now - at < 1 ? "now" : `${span(now - at)} ago`;
}

export const count = (n) => COUNT.format(n);

/** "1 day", "2 days". */
export const many = (n, one, more = `${one}s`) => `${COUNT.format(n)} ${Math.abs(n) === 1 ? one : more}`;

/** A number as people read it: at most six digits that count. */
export function number(n) {
  if (typeof n !== "number" || !Number.isFinite(n)) return NOTHING;
  if (n !== 0 && (Math.abs(n) >= 1e9 || Math.abs(n) < 1e-4)) return n.toExponential(3).replace("-", "\u2212");
  return String(Number(n.toPrecision(Math.abs(n) >= 1e6 ? 9 : 6))).replace("-", "\u2212");
}

/** A number to four digits, where more would say nothing. */
export const rough = (n) => number(Number(n.toPrecision(4)));

/** A reading's value: a number, a text, yes or no. */
export function value(v) {
  if (v === null || v === undefined || v === "") return NOTHING;
  if (typeof v === "number") return number(v);
  if (typeof v === "boolean") return v ? "yes" : "no";
  return typeof v === "object" ? JSON.stringify(v) : String(v);
}

const UNITS = new Map([
  ["Cel", "\u00b0C"],
  ["%RH", "%"],
  ["%EL", "%"],
  ["EL", ""],
  ["/", ""],
  ["lx", "lx"],
  ["Ohm", "\u03a9"],
  ["m3", "m\u00b3"],
  ["deg", "\u00b0"],
  ["[degF]", "\u00b0F"],
]);

/** A unit of SenML or UCUM as people write it. */
export const unit = (name) => UNITS.get(name) ?? name ?? "";
