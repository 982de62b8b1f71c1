// What is wrong with a device, worst first, in words.

import { many } from "./words.js";

const CERT_SOON_DAYS = 30;
const WEAK_DBM = -80;

// The default of mqtt.window: so many readings may be under way at the moment of a status, and say nothing.
export const UNDER_WAY = 16;

/** How many readings wait because they cannot go; null where nobody said. */
export const backlog = (outbox) => (outbox?.depth == null ? null : outbox.depth > UNDER_WAY ? outbox.depth : 0);

/** Problems of a row: [{level: 3 bad … 1 note, code, text, fact, fix, when, plain: the status says it already}]. */
export function problems(row) {
  const found = [];
  const add = (level, code, text, fix = "", more = {}) => found.push({ level, code, text, fix, fact: "", when: null, plain: false, ...more });
  const days = row.certDays;
  if (row.trouble) add(3, row.trouble.code, row.trouble.what || row.trouble.fact, row.trouble.fix, row.trouble);
  if (row.status === "offline") add(3, "offline", "Its connection to the broker has ended.", "Look at its power and network; `rootlet logs` by cable.", { plain: true });
  if (days !== null && days < 0) add(3, "certificate", `Its certificate ended ${many(-days, "day")} ago.`, "rootlet certs rotate");
  else if (days !== null && days < CERT_SOON_DAYS) {
    add(2, "certificate", `Its certificate ends in ${many(days, "day")}.`, "rootlet certs rotate");
  }
  if (row.outbox?.dropped > 0) {
    add(2, "outbox", `${many(row.outbox.dropped, "reading")} dropped for lack of room.`, "A larger outbox, or fewer readings.");
  }
  if (row.lost > 0) add(2, "lost", `${many(row.lost, "reading")} missing.`, "See its outbox and its reconnects.");
  for (const error of row.errors) {
    const same = row.trouble && row.trouble.code === error.code && row.trouble.fact === error.fact;
    if (!same) add(2, error.code, error.what || error.fact, error.fix, error);
  }
  if (row.rssi !== null && row.rssi < WEAK_DBM) {
    add(1, "signal", `Its signal is weak (${row.rssi} dBm).`, "A better place or antenna, or a nearer access point.");
  }
  return found.sort((a, b) => b.level - a.level);
}

/** How bad it is with a device, for sorting: the worst problem counts most, then how many there are. */
export const severity = (found) => (found.length ? found[0].level * 100 + Math.min(found.length, 99) : 0);

const SIGNALS = [
  [-60, 4, "good"],
  [-70, 3, "fair"],
  [-80, 2, "low"],
];

/** A signal's bars and word. */
export function signal(rssi) {
  for (const [least, bars, word] of SIGNALS) if (rssi >= least) return { bars, word };
  return { bars: 1, word: "weak" };
}
