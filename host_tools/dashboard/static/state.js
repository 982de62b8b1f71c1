// Everything that is known of the devices, and in which order they are shown. No elements here.

import * as clean from "./clean.js";
import { backlog, problems, severity } from "./problems.js";
import { value } from "./words.js";

const MOST_DEVICES = 4000;
const SPARK = 24;
const MOST_SPARKS = 64;

export const SORTS = new Map([
  ["problems", "Problems first"],
  ["name", "Name"],
  ["status", "Status"],
  ["seen", "Last heard"],
  ["cert", "Certificate days"],
  ["outbox", "Outbox"],
  ["signal", "Signal"],
]);

const STATUS_ORDER = { offline: 0, unknown: 1, online: 2 };
// What is worth looking at comes first. What is not known comes last, whichever way.
const KEYS = {
  problems: (entry) => -severity(entry.problems),
  name: () => 0,
  status: ({ row }) => STATUS_ORDER[row.status],
  seen: ({ row }) => (row.seen === null ? null : -row.seen),
  cert: ({ row }) => row.certDays,
  outbox: ({ row }) => {
    const waiting = backlog(row.outbox);
    return waiting === null ? null : -waiting;
  },
  signal: ({ row }) => row.rssi,
};

/** Puts the newest values behind those that were there. sparks: of one device, by sensor and quantity. */
function mergeSparks(sparks, readings, longest) {
  for (const reading of readings) {
    const key = `${reading.sensor}\u0000${reading.quantity}`;
    const spark = (reading.spark ?? [...(sparks.get(key) ?? []), ...reading.new]).slice(-longest);
    sparks.delete(key);
    sparks.set(key, spark);
    reading.spark = spark;
    reading.key = key;
  }
  for (const key of sparks.keys()) {
    if (sparks.size <= MOST_SPARKS) break;
    sparks.delete(key);
  }
}

export class State {
  devices = new Map();
  broker = "";
  connected = null;
  trouble = [];
  certificates = false;
  totals = {};
  ready = false;
  revision = 0;
  #skew = 0;
  #names = [];
  #collator = new Intl.Collator("en", { numeric: true });

  /** The server's time, Unix seconds: what is relative is so to its clock, not to the viewer's. */
  now() {
    return Date.now() / 1000 + this.#skew;
  }

  #clock(now) {
    if (clean.finite(now) !== null) this.#skew = now - Date.now() / 1000;
  }

  /** The server greets. */
  hello(message) {
    this.#clock(message.now);
    this.counts(message.totals);
    this.certificates = message.mtls === true;
    this.link(message);
  }

  /** The broker is there, or away and why. */
  link(message) {
    this.broker = clean.text(message.broker) || this.broker;
    this.connected = message.connected === true;
    const { what, because, try: fix } = message.trouble ?? {};
    this.trouble = [what, because, fix].map(clean.text).filter(Boolean);
  }

  counts(totals) {
    if (totals !== null && typeof totals === "object") this.totals = totals;
  }

  /** Takes in rows; all: there are no others. */
  rows(message) {
    this.#clock(message.now);
    this.counts(message.totals);
    this.revision += 1;
    const rows = clean.rows(message.rows);
    if (message.all === true) {
      const ids = new Set(rows.map((row) => row.id));
      for (const id of this.devices.keys()) if (!ids.has(id)) this.devices.delete(id);
      this.#names = [];
      this.ready = true;
    }
    for (const row of rows) this.#row(row);
  }

  #row(row) {
    let entry = this.devices.get(row.id);
    if (!entry) {
      if (this.devices.size >= MOST_DEVICES) return;
      entry = { sparks: new Map(), rank: 0 };
      this.devices.set(row.id, entry);
      this.#names = [];
    }
    mergeSparks(entry.sparks, row.readings, SPARK);
    Object.assign(entry, { row, problems: problems(row), revision: this.revision, words: null });
  }

  #ranks() {
    if (this.#names.length === this.devices.size) return;
    this.#names = [...this.devices.keys()].sort(this.#collator.compare);
    this.#names.forEach((id, rank) => (this.devices.get(id).rank = rank));
  }

  /** The entries that have all words of `search`, in the order of `sort`; down: the other way round. */
  arranged(search, sort, down) {
    this.#ranks();
    const words = search.toLowerCase().split(/\s+/).filter(Boolean);
    const key = KEYS[sort] ?? KEYS.problems;
    const way = down ? -1 : 1;
    const found = [];
    for (const entry of this.devices.values()) {
      if (words.length && !words.every((word) => wordsOf(entry).includes(word))) continue;
      entry.key = key(entry);
      found.push(entry);
    }
    return found.sort((a, b) => {
      if (a.key === b.key) return (a.rank - b.rank) * (sort === "name" ? way : 1);
      if (a.key === null || b.key === null) return a.key === null ? 1 : -1;
      return (a.key - b.key) * way;
    });
  }

  /** Counts for the top of the page, where the server has not said them; rate: readings a minute. */
  summary() {
    const seen = { online: 0, offline: 0, unknown: 0, trouble: 0, rate: 0 };
    for (const { row } of this.devices.values()) {
      seen[row.status] += 1;
      seen.rate += row.rate;
      seen.trouble += row.trouble ? 1 : 0;
    }
    return seen;
  }
}

function wordsOf(entry) {
  const { row } = entry;
  entry.words ??= [
    row.id,
    row.status,
    row.version,
    ...entry.problems.map((problem) => `${problem.code} ${problem.text}`),
    ...row.readings.map((reading) => `${reading.sensor} ${reading.quantity} ${value(reading.value)}`),
  ]
    .join(" ")
    .toLowerCase();
  return entry.words;
}

export { mergeSparks };
