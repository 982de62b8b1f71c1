// What happened to a device: from the history, and what comes meanwhile. Newest first.

import * as clean from "./clean.js";
import { bdi, el, keyed, put, setAttribute, setText, show } from "./dom.js";
import { iso, moment, whole } from "./words.js";

const MOST = 500;
const ASKED = 200;

export class Log {
  #state;
  #device = null;
  #events = new Map();
  #drawn = "";

  constructor(state) {
    this.#state = state;
    this.list = el("ol", { class: "events" });
    this.none = el("p", { class: "faint" });
    const scroller = el("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": "Events, newest first" }, this.list);
    this.scroller = scroller;
    this.node = el("section", { class: "card wide", "aria-labelledby": "events-heading" });
    this.node.append(el("h2", { id: "events-heading" }, "Events"), this.none, scroller);
  }

  /** Shows a device's, or none's with null. */
  async open(id) {
    this.#device = id;
    this.#events.clear();
    this.#draw();
    if (id === null) return;
    setText(this.none, "Loading \u2026");
    let said = "Nothing has happened yet.";
    try {
      const answer = await fetch(`/api/events?${new URLSearchParams({ device: id, limit: ASKED })}`, { signal: AbortSignal.timeout(20000) });
      if (answer.status === 401) return void location.reload();
      if (!answer.ok) throw new Error(String(answer.status));
      const found = await answer.json();
      if (this.#device === id) this.add((Array.isArray(found) ? found : (found?.events ?? [])).map(clean.event).filter(Boolean));
    } catch {
      said = "Nothing has happened since the page's server was started; older events are not to be had.";
    }
    if (this.#device === id) setText(this.none, said);
  }

  /** Takes in events; those that are there already stay as they are. */
  add(events) {
    for (const event of events) {
      // The history may keep whole milliseconds only.
      this.#events.set(`${Math.round((event.time ?? 0) * 10)}\u0000${event.kind}\u0000${event.text}`, event);
    }
    this.#draw();
  }

  #draw() {
    const sorted = [...this.#events].sort((a, b) => (b[1].time ?? 0) - (a[1].time ?? 0)).slice(0, MOST);
    this.#events = new Map(sorted);
    show(this.none, sorted.length === 0);
    show(this.scroller, sorted.length > 0);
    const day = new Date(this.#state.now() * 1000).toDateString();
    const drawn = `${day} ${sorted.map(([key]) => key).join("\n")}`;
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    const now = this.#state.now();
    const make = () => el("li", {}, el("time"), " ", el("strong", {}, bdi("")), " ", bdi(""));
    keyed(this.list, sorted, ([key]) => key, make, (node, [, event]) => {
      const [time, kind, text] = node.children;
      setText(time, moment(event.time, now));
      setAttribute(time, "datetime", iso(event.time));
      setAttribute(time, "title", whole(event.time) || null);
      put(kind.firstChild, event.kind.replaceAll("_", " "), 40);
      put(text, event.text, 200);
    });
  }

  /** Times of yesterday get their day. */
  tick() {
    this.#draw();
  }
}
