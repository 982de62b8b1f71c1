// The list of all devices. Rows far from the viewport are only shells, and are drawn when they come near.

import { el, order, setAttribute, setText, show, visible } from "./dom.js";
import { drawRow, drawTimes, makeRow } from "./row.js";
import { SORTS } from "./state.js";
import { count, many } from "./words.js";

const ARRANGE_MS = 2000;
const STILL_MS = 2500;
const NEAR = "400px 0px";
const HEADS = [
  ["Device", "name"],
  ["Status", "status"],
  ["Readings", null],
  ["Certificate", "cert"],
  ["Outbox", "outbox"],
  ["Signal", "signal"],
  ["Last heard", "seen"],
  ["Problem", "problems"],
];

const $ = (id) => document.getElementById(id);

/** The list over `state`. It draws into the page's own elements. */
export class List {
  #state;
  #nodes = new Map();
  #near = new Set();
  #heads = [];
  #arranged = -Infinity;
  #touched = -Infinity;
  #saying = 0;
  #building = false;
  search = "";
  sort = "problems";
  down = false;

  constructor(state) {
    this.#state = state;
    for (const [key, name] of SORTS) $("sort").append(el("option", { value: key }, name));
    for (const [name, key] of HEADS) this.#head(name, key);
    $("tools").addEventListener("submit", (event) => event.preventDefault());
    $("search").addEventListener("input", () => this.#choose({ search: $("search").value }));
    $("sort").addEventListener("change", () => this.#choose({ sort: $("sort").value, down: false }));
    $("down").addEventListener("click", () => this.#choose({ down: !this.down }));
    // A row does not go away from under a pointer, or from somebody who walks through by keyboard.
    for (const kind of ["pointermove", "keydown"]) {
      $("rows").addEventListener(kind, () => (this.#touched = performance.now()), { passive: true });
    }
    this.observer = new IntersectionObserver((seen) => this.#seen(seen), { rootMargin: NEAR });
    window.addEventListener("beforeprint", () => this.#all());
    this.#controls();
  }

  #head(name, key) {
    const button = key && el("button", { type: "button" }, name);
    const head = el("div", { role: "columnheader", class: `cell ${key ?? "readings"}` }, button ?? name);
    button?.addEventListener("click", () => this.#choose({ sort: key, down: this.sort === key && !this.down }));
    this.#heads.push([head, key]);
    $("head").append(head);
  }

  #choose(choice) {
    Object.assign(this, choice);
    this.#controls();
    this.arrange();
    clearTimeout(this.#saying);
    this.#saying = setTimeout(() => setText($("found"), this.#words()), 700);
  }

  #controls() {
    $("sort").value = this.sort;
    setAttribute($("down"), "aria-pressed", this.down);
    for (const [head, key] of this.#heads) {
      setAttribute(head, "aria-sort", key === this.sort ? (this.down ? "descending" : "ascending") : null);
    }
  }

  #words() {
    const all = this.#state.devices.size;
    const shown = $("rows").childElementCount;
    return shown === all ? many(all, "device") : `${count(shown)} of ${many(all, "device")}`;
  }

  #seen(changes) {
    const now = this.#state.now();
    for (const { target, isIntersecting } of changes) {
      if (isIntersecting) {
        this.#near.add(target);
        this.#draw(target, now);
      } else this.#near.delete(target);
    }
  }

  #draw(node, now) {
    const entry = this.#state.devices.get(node.deviceId);
    if (entry && node.drawn !== entry.revision) drawRow(node, entry, now);
  }

  /** Finds and orders the rows anew. */
  arrange() {
    this.#arranged = performance.now();
    const state = this.#state;
    const entries = state.arranged(this.search, this.sort, this.down);
    const nodes = entries.map(({ row }) => this.#node(row.id));
    for (const [id, node] of this.#nodes) {
      if (!state.devices.has(id)) {
        this.observer.unobserve(node);
        this.#near.delete(node);
        this.#nodes.delete(id);
      }
    }
    order($("rows"), nodes);
    setText($("shown"), this.#words());
    show($("table"), nodes.length > 0);
    this.#empty(nodes.length === 0);
  }

  #node(id) {
    let node = this.#nodes.get(id);
    if (!node) {
      node = makeRow(id);
      this.#nodes.set(id, node);
      this.observer.observe(node);
      this.#later();
    }
    return node;
  }

  // What is far away is drawn when there is nothing else to do: for searching in the page, and for readers of the screen.
  #later() {
    if (this.#building) return;
    this.#building = true;
    const soon = window.requestIdleCallback ?? ((work) => setTimeout(work, 100, { timeRemaining: () => 5 }));
    const left = this.#nodes.values();
    const work = (deadline) => {
      while (deadline.timeRemaining() > 4) {
        const { value: node, done } = left.next();
        if (done) {
          this.#building = false;
          return;
        }
        if (!node.parts) this.#draw(node, this.#state.now());
      }
      soon(work);
    };
    soon(work);
  }

  #all() {
    const now = this.#state.now();
    for (const node of this.#nodes.values()) this.#draw(node, now);
  }

  #empty(empty) {
    show($("empty"), empty && this.#state.ready);
    if (!empty) return;
    const kind = this.#state.devices.size ? `none:${this.search}` : "nothing";
    if ($("empty").dataset.kind === kind) return;
    $("empty").dataset.kind = kind;
    $("empty").replaceChildren(...(this.#state.devices.size ? this.#noneFound() : nothingYet(this.#state.broker)));
  }

  #noneFound() {
    const all = el("button", { type: "button" }, "Show all");
    all.addEventListener("click", () => {
      $("search").value = "";
      this.#choose({ search: "" });
      $("search").focus();
    });
    return [el("h2", {}, "No device matches"), el("p", {}, "Names, statuses, sensors, values and problems are searched."), all];
  }

  /** After changes: draws what is near, and orders anew now and then. */
  draw() {
    const now = this.#state.now();
    const at = performance.now();
    const still = at - this.#touched > STILL_MS;
    const grown = this.#state.devices.size !== this.#nodes.size;
    if (grown || (still && at - this.#arranged > ARRANGE_MS)) this.arrange();
    for (const node of this.#near) if (node.isConnected) this.#draw(node, now);
  }

  /** Once a second: how long ago things were. */
  tick() {
    const now = this.#state.now();
    for (const node of this.#near) {
      const entry = this.#state.devices.get(node.deviceId);
      if (entry && node.parts && node.isConnected) drawTimes(node, entry, now);
    }
  }

  /** Puts the focus on a device's row, where there is one. */
  focus(id) {
    const link = this.#nodes.get(id)?.querySelector("a");
    (link?.isConnected ? link : $("list-heading")).focus();
  }
}

function nothingYet(broker) {
  const virtual = `rootlet sim --count 5 --broker ${visible(broker || "HOST:PORT").slice(0, 80)} --ca-dir ca`;
  const say = (words, command) => el("li", {}, `${words} `, el("code", {}, command));
  return [
    el("h2", {}, "No device has been heard yet"),
    el("p", {}, "They appear here by themselves, as soon as they publish. What to type next:"),
    el(
      "ul",
      {},
      say("Put the firmware on a board:", "rootlet deploy"),
      say("Without a board, five virtual ones:", virtual),
      say("If a device should be here already:", "rootlet doctor"),
    ),
  ];
}
