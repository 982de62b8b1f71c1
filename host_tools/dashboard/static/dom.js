// Building and changing elements. Text goes in as text only: nothing that a device says is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** An HTML element. attributes: name to text, or null; names are the page's own, never a device's. */
export const el = (name, attributes, ...children) => fill(document.createElement(name), attributes, children);

/** An SVG element. */
export const svg = (name, attributes, ...children) => fill(document.createElementNS(SVG, name), attributes, children);

/** Sets an element's text where it is another. */
export function setText(node, text) {
  const only = node.firstChild;
  if (only && only === node.lastChild && only.nodeType === Node.TEXT_NODE) {
    if (only.data !== text) only.data = text;
  } else if (only || text !== "") {
    node.textContent = text;
  }
}

/** Sets an attribute where it is another; null takes it away. */
export function setAttribute(node, name, value) {
  if (value === null || value === undefined) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value)) {
    node.setAttribute(name, value);
  }
}

/** Shows or hides an element. */
export function show(node, shown) {
  if (node.hidden === shown) node.hidden = !shown;
}

// Controls, what turns the direction of text, what has no width, tags, and halves of surrogate pairs.
const UNSEEN =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\p{Cs}\u{e0000}-\u{e0fff}]/gu;

/** A text with all that cannot be seen made visible, by its number: few fonts have the pictures of controls. */
export function visible(text) {
  return text.replace(UNSEEN, (one) => `\u2039U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}\u203a`);
}

/** Puts a device's text into an element: visible, and cut to `longest` characters with the whole of it in the title. */
export function put(node, text, longest = 64) {
  const whole = visible(String(text ?? ""));
  const letters = whole.length > longest ? Array.from(whole) : null;
  const cut = letters !== null && letters.length > longest;
  setText(node, cut ? `${letters.slice(0, longest - 1).join("")}\u2026` : whole);
  setAttribute(node, "title", cut ? whole.slice(0, 2000) : null);
}

/** A device's text on its own, so that its direction does not touch what is beside it. */
export function bdi(text, longest) {
  const node = el("bdi");
  put(node, text, longest);
  return node;
}

/**
 * Makes the children of `container` those of `items`, in their order; what stays is kept and only moved where it must be.
 * key(item): a text. make(item): an element. update(element, item).
 */
export function keyed(container, items, key, make, update) {
  const old = (container.keyedNodes ??= new Map());
  const now = new Map();
  for (const item of items) {
    const name = key(item);
    if (now.has(name)) continue;
    const node = old.get(name) ?? make(item);
    update(node, item);
    now.set(name, node);
  }
  container.keyedNodes = now;
  order(container, [...now.values()]);
}

/** Makes `nodes` the children of `container`, in this order, with few moves. */
export function order(container, nodes) {
  const focused = container.contains(document.activeElement) ? document.activeElement : null;
  let at = container.firstElementChild;
  for (const node of nodes) {
    // One that has moved further down, or gone: those after it stay where they are.
    if (at !== node && at && at.nextElementSibling === node) {
      const gone = at;
      at = node;
      gone.remove();
    }
    if (at === node) at = at.nextElementSibling;
    else container.insertBefore(node, at);
  }
  while (at) {
    const gone = at;
    at = at.nextElementSibling;
    gone.remove();
  }
  // An element that is moved loses the focus.
  if (focused && focused !== document.activeElement && container.contains(focused)) focused.focus({ preventScroll: true });
}
