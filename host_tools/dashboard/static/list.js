// The list of all devices, in blocks: only those near the viewport hold rows, the others only keep their place.

import { el, order, setAttribute, setText, show, visible } from "./dom.js";
import { drawRow, drawTimes, makeRow } from "./row.js";
import { SORTS } from "./state.js";
import { count, many } from "./words.js";

const ARRANGE_MS = 2000;
const STILL_MS = 2500;
const NEAR = "400px 0px";
// Full lines of cards, whether 1, 2, 3, 4 or 6 stand side by side.
const BLOCK = 12;
const ROW_PX = 70;
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
  #order = [];
  #blocks = [];
  #nodes = new Map();
  #heads = [];
  #arranged = -Infinity;
  #touched = -Infinity;
  #saying = 0;
  #size = -1;
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
    window.addEventListener("resize", () => this.#blocks.forEach((block) => (block.height = 0)));
    window.addEventListener("beforeprint", () => this.#print(true));
    window.addEventListener("afterprint", () => this.#print(false));
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
    const shown = this.#order.length;
    return shown === all ? many(all, "device") : `${count(shown)} of ${many(all, "device")}`;
  }

  #seen(changes) {
    for (const { target, isIntersecting, boundingClientRect: box } of changes) {
      const block = this.#blocks.find(({ node }) => node === target);
      // While a device's page is shown the list has no size.
      if (!block || box.width === 0) continue;
      if (block.near) block.height = box.height;
      if (block.near === isIntersecting) continue;
      block.near = isIntersecting;
      this.#fill(block);
    }
    this.#forget();
  }

  /** Puts a block's rows into it, or takes them out where it is far away. */
  #fill(block) {
    const first = this.#blocks.indexOf(block) * BLOCK;
    const entries = this.#order.slice(first, first + BLOCK);
    if (block.near) {
      order(block.node, entries.map((entry, i) => this.#node(entry, first + i)));
      block.node.style.height = "";
    } else {
      block.node.replaceChildren();
      block.node.style.height = `${Math.round((block.height || this.#usual()) * (entries.length / BLOCK))}px`;
    }
  }

  #usual() {
    const known = this.#blocks.filter(({ height }) => height > 0);
    return known.length ? known.reduce((sum, { height }) => sum + height, 0) / known.length : BLOCK * ROW_PX;
  }

  #node(entry, index) {
    const { id } = entry.row;
    const node = this.#nodes.get(id) ?? makeRow(id);
    this.#nodes.set(id, node);
    setAttribute(node, "aria-rowindex", index + 2);
    if (node.drawn !== entry.revision) drawRow(node, entry, this.#state.now());
    return node;
  }

  #forget() {
    for (const [id, node] of this.#nodes) if (!node.isConnected) this.#nodes.delete(id);
  }

  /** Finds and orders the rows anew. */
  arrange() {
    this.#arranged = performance.now();
    const focused = document.activeElement?.closest(".row");
    this.#order = this.#state.arranged(this.search, this.sort, this.down);
    this.#size = this.#state.devices.size;
    const blocks = Math.ceil(this.#order.length / BLOCK);
    while (this.#blocks.length > blocks) {
      const { node } = this.#blocks.pop();
      this.observer.unobserve(node);
      node.remove();
    }
    while (this.#blocks.length < blocks) {
      const node = el("div", { role: "presentation", class: "block" });
      // Where it is will be known soon; the first are seen at once.
      this.#blocks.push({ node, near: this.#blocks.length === 0, height: 0 });
      $("rows").append(node);
      this.observer.observe(node);
    }
    for (const block of this.#blocks) this.#fill(block);
    this.#forget();
    if (focused && focused.isConnected && document.activeElement === document.body) focused.querySelector("a").focus({ preventScroll: true });
    setAttribute($("table"), "aria-rowcount", this.#order.length + 1);
    setText($("shown"), this.#words());
    show($("table"), blocks > 0);
    this.#empty(blocks === 0);
  }

  // On paper are all rows.
  #print(all) {
    for (const block of this.#blocks) {
      if (block.near) continue;
      block.near = all;
      this.#fill(block);
      block.near = false;
    }
    this.#forget();
  }

  #empty(empty) {
    show($("empty"), empty && this.#state.ready);
    if (!empty) return;
    // The broker's name may come after the devices.
    const kind = this.#state.devices.size ? `none:${this.search}` : `nothing:${this.#state.broker}`;
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

  /** After changes: draws the rows that there are, and orders anew now and then. */
  draw() {
    const at = performance.now();
    const still = at - this.#touched > STILL_MS && !$("rows").querySelector(":focus-visible");
    const grown = this.#size !== this.#state.devices.size;
    if (grown || (still && at - this.#arranged > ARRANGE_MS)) this.arrange();
    const now = this.#state.now();
    for (const [id, node] of this.#nodes) {
      const entry = this.#state.devices.get(id);
      if (entry && node.drawn !== entry.revision) drawRow(node, entry, now);
    }
  }

  /** Once a second: how long ago things were. */
  tick() {
    const now = this.#state.now();
    for (const [id, node] of this.#nodes) {
      const entry = this.#state.devices.get(id);
      if (entry) drawTimes(node, entry, now);
    }
  }

  /** Puts the focus on a device's row, where there is one. */
  focus(id) {
    const block = this.#blocks[Math.floor(this.#order.findIndex((entry) => entry.row.id === id) / BLOCK)];
    if (block && !block.near) {
      block.near = true;
      this.#fill(block);
    }
    (this.#nodes.get(id)?.querySelector("a") ?? $("list-heading")).focus();
  }
}

function nothingYet(broker) {
  const virtual = `rootlet sim --count 5 --broker ${visible(broker || "HOST:PORT").slice(0, 80)} --ca-dir ca-data`;
  const say = (words, command) => el("li", {}, `${words} `, el("code", {}, command));
  return [
    el("h2", {}, "No device has been heard yet"),
    el("p", {}, "They appear here by themselves, as soon as they publish. What to type next:"),
    el(
      "ul",
      {},
      say("Put the firmware on a board:", "rootlet deploy"),
      say("Without a board, five simulated devices:", virtual),
      say("If a device should be here already:", "rootlet doctor"),
    ),
  ];
}
