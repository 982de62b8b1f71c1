// Where the ticks of axes stand, and what they are called.

import { day, minute, number } from "./words.js";

/** Round numbers about low … high: {low, high, ticks: [{at, label}]}. most: ticks at most, about. */
export function valueTicks(low, high, most) {
  if (!(high - low < Number.MAX_VALUE)) return { low, high, ticks: [low, high].map((at) => ({ at, label: number(at) })) };
  if (high === low) {
    const around = Math.abs(low) * 0.05 || 1;
    return valueTicks(low - around, high + around, most);
  }
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((n) => n * power >= rough * 0.999);
  const first = Math.floor(low / step);
  const last = Math.ceil(high / step);
  // A step too small for these numbers' digits: the ends alone.
  if (!(last - first <= 4 * most) || low + step === low) return { low, high, ticks: [low, high].map((at) => ({ at, label: number(at) })) };
  const ticks = [];
  for (let n = first; n <= last; n++) {
    const at = Number((n * step).toPrecision(12));
    ticks.push({ at, label: number(at) });
  }
  return { low: first * step, high: last * step, ticks };
}

const MINUTES = [1, 2, 5, 10, 15, 20, 30];
const HOURS = [1, 2, 3, 6, 12];
const DAYS = [1, 2, 5, 7, 14, 30];

/** Round times between two Unix seconds, in the viewer's zone: [{at, label}]. most: how many at most. */
export function timeTicks(since, until, most) {
  const span = until - since;
  const fits = (seconds) => span / seconds <= most;
  const minutes = MINUTES.find((n) => fits(n * 60));
  const hours = minutes ? null : HOURS.find((n) => fits(n * 3600));
  const days = minutes || hours ? null : (DAYS.find((n) => fits(n * 86400)) ?? Math.ceil(span / 86400 / most));
  const at = new Date(since * 1000);
  // The day's start by the wall clock: days have 23 or 25 hours twice a year.
  if (minutes) at.setMinutes(Math.floor(at.getMinutes() / minutes) * minutes, 0, 0);
  else if (hours) at.setHours(Math.floor(at.getHours() / hours) * hours, 0, 0, 0);
  else at.setHours(0, 0, 0, 0);
  const ticks = [];
  for (let n = 0; at.getTime() / 1000 <= until && n < 200; n++) {
    const seconds = at.getTime() / 1000;
    const midnight = at.getHours() === 0 && at.getMinutes() === 0;
    if (seconds >= since) ticks.push({ at: seconds, label: days || (midnight && hours) ? day(seconds) : minute(seconds) });
    if (minutes) at.setTime(at.getTime() + minutes * 60000);
    else if (hours) {
      const before = at.getTime();
      at.setHours(at.getHours() + hours);
      if (at.getTime() <= before) at.setTime(before + hours * 3600000);
    } else at.setDate(at.getDate() + days);
  }
  return ticks;
}
