// Numbers, ages and moments, as people of the chosen language write them.

import { make } from "./dom.js";
import { current, say } from "./texts.js";

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Returns a duration in its largest unit: `5.9 s`, `3 min`, `2 h`, `12 d`. */
export function span(seconds) {
  const [value, unit] =
    seconds < MINUTE ? [seconds, "s"]
    : seconds < HOUR ? [seconds / MINUTE, "min"]
    : seconds < 2 * DAY ? [seconds / HOUR, "h"]
    : [seconds / DAY, "d"];
  const digits = unit === "s" && value % 1 ? 1 : 0;
  return `${number(digits ? value : Math.floor(value), digits)} ${say(`unit_${unit}`)}`;
}

export function number(value, digits = 0) {
  return value.toLocaleString(current(), { maximumFractionDigits: digits });
}

/** Returns a duration of so many microseconds in milliseconds: `0.4 ms`, `12 ms`. */
export function milliseconds(micros) {
  if (micros === null || micros === undefined) return "–";
  return `${number(micros / 1000, micros < 10_000 ? 1 : 0)} ms`;
}

/** Returns how long ago, or until when, a moment in Unix seconds is. */
export function distance(unix) {
  const seconds = Math.round(Date.now() / 1000) - unix;
  if (seconds < 0) return say("in_time", { span: span(-seconds) });
  return say("time_ago", { span: span(seconds) });
}

/** Returns the time of day. */
export function clock(milliseconds) {
  return new Date(milliseconds).toLocaleTimeString(current());
}

/** Returns the time of day to the millisecond. */
export function exact(milliseconds) {
  return new Date(milliseconds).toLocaleTimeString(current(), { hour: "2-digit", minute: "2-digit",
    second: "2-digit", fractionalSecondDigits: 3 });
}

/** Returns a moment in Unix seconds in full. */
export function full(unix) {
  return new Date(unix * 1000).toLocaleString(current(), { dateStyle: "long", timeStyle: "long" });
}

/** Returns the element of a moment in Unix seconds: its distance, in full on hover. */
export function moment(unix, absent) {
  if (unix === null || unix === undefined) return make("span", { class: "muted" }, absent);
  const iso = new Date(unix * 1000).toISOString();
  return make("time", { datetime: iso, title: full(unix) }, distance(unix));
}
