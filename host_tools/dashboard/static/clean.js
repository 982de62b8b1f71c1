// What the server sends, made into rows of known types. Missing, null or of another type: the page stays right.

const MOST_READINGS = 64;
const STATES = new Set(["online", "offline"]);

const isObject = (v) => v !== null && typeof v === "object" && !Array.isArray(v);
const list = (v) => (Array.isArray(v) ? v : []);
const objects = (v) => list(v).filter(isObject);
export const text = (v) => (v === null || v === undefined ? "" : typeof v === "object" ? JSON.stringify(v) : String(v));
export const finite = (v) => (typeof v === "number" && Number.isFinite(v) ? v : null);
const numbers = (v) => list(v).filter((n) => typeof n === "number" && Number.isFinite(n));

function reading(r) {
  return {
    sensor: text(r.sensor),
    quantity: text(r.quantity),
    value: r.value ?? null,
    unit: text(r.unit),
    time: finite(r.time),
    spark: Array.isArray(r.spark) ? numbers(r.spark) : null,
    new: numbers(r.new),
  };
}

function error(e) {
  return { code: text(e.code), fact: text(e.fact), what: text(e.what), fix: text(e.fix), when: finite(e.when) };
}

function counts(v) {
  return isObject(v)
    ? Object.entries(v)
        .filter(([, n]) => finite(n) !== null)
        .slice(0, 64)
    : [];
}

/** A device's row, or null where it has no id. */
export function row(r) {
  if (!isObject(r) || typeof r.id !== "string" || r.id === "") return null;
  const outbox = isObject(r.outbox) ? r.outbox : null;
  const tls = Array.isArray(r.tls) ? r.tls.map(text) : null;
  return {
    // Half of a surrogate pair cannot stand in an address.
    id: r.id.toWellFormed(),
    status: STATES.has(r.status) ? r.status : "unknown",
    since: finite(r.since),
    sinceKnown: r.since_known !== false,
    seen: finite(r.seen),
    readings: objects(r.readings).slice(0, MOST_READINGS).map(reading),
    more: finite(r.more) ?? 0,
    rate: finite(r.rate) ?? 0,
    lost: finite(r.lost) ?? 0,
    outbox: outbox && { ...outbox, depth: finite(outbox.depth), dropped: finite(outbox.dropped) },
    reconnects: counts(r.reconnects),
    rssi: finite(r.rssi),
    certDays: finite(r.cert_days),
    tls: tls && tls.length > 0 ? tls : null,
    version: text(r.version),
    broker: text(r.broker),
    handshake: finite(r.handshake_ms),
    trouble: isObject(r.trouble) ? error(r.trouble) : null,
    errors: objects(r.errors).map(error),
  };
}

/** An event; the history's may be a list. */
export function event(e) {
  if (Array.isArray(e)) return { time: finite(e[0]), kind: text(e[1]), text: text(e[2]) };
  return isObject(e) ? { time: finite(e.time), kind: text(e.kind), text: text(e.text) } : null;
}

/** A device's detail: its row, and what else there is of it. */
export function detail(d) {
  const base = row(d);
  return base && { ...base, events: list(d.events).map(event).filter(Boolean), said: isObject(d) ? d : {} };
}

/** Points of a series: [t, min, avg, max], in order. */
export const points = (v) =>
  list(isObject(v) ? v.points : v)
    .filter((p) => Array.isArray(p) && p.length >= 4 && p.slice(0, 4).every((n) => finite(n) !== null))
    .sort((a, b) => a[0] - b[0]);

export const rows = (v) => list(v).map(row).filter(Boolean);
