// A small line of the last values.

import { setAttribute, svg } from "./dom.js";

const WIDE = 100;
const HIGH = 24;

/** An empty sparkline. It only repeats what the text beside it says, so readers of the screen do not hear of it. */
export function makeSpark() {
  const line = svg("polyline", { class: "spark-line", "vector-effect": "non-scaling-stroke" });
  const box = { class: "spark", viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", "aria-hidden": "true" };
  return svg("svg", { ...box, focusable: "false" }, line);
}

/** Draws numbers, oldest first. */
export function drawSpark(node, values) {
  setAttribute(node.firstChild, "points", sparkPoints(values));
}

/** The points of a line through values; halved, so that no difference overflows. */
export function sparkPoints(values) {
  if (values.length < 2) return "";
  const low = Math.min(...values) / 2;
  const span = Math.max(...values) / 2 - low;
  const step = WIDE / (values.length - 1);
  const high = (v) => (span > 0 ? HIGH - 2 - ((v / 2 - low) / span) * (HIGH - 4) : HIGH / 2);
  return values.map((v, i) => `${(i * step).toFixed(1)},${high(v).toFixed(1)}`).join(" ");
}
