// What the page says, in the language of the browser or the one that was chosen.

import { de } from "./texts/de.js";
import { en } from "./texts/en.js";

const ALL = { en, de };
const KEPT = "stream.language";

/** The languages there are, each by its own name. */
export const LANGUAGES = { en: "English", de: "Deutsch" };

let language = chosen();
let plural = new Intl.PluralRules(language);

export function current() {
  return language;
}

/** Has the page speak `name` from now on, and at the next visit. */
export function speak(name) {
  language = name;
  plural = new Intl.PluralRules(name);
  // Storage that is refused costs the choice at the next visit, and nothing else.
  try {
    localStorage.setItem(KEPT, name);
  } catch {}
}

/**
 * Returns the text called `key` with `values` in the places of their names. Where it differs by
 * number, `count` is the number.
 */
export function say(key, values = {}) {
  const text = ALL[language][key] ?? en[key] ?? key;
  const form = typeof text === "string" ? text : (text[plural.select(values.count)] ?? text.other);
  return form.replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name];
    return typeof value === "number" ? value.toLocaleString(language) : value;
  });
}

function chosen() {
  let kept;
  try {
    kept = localStorage.getItem(KEPT);
  } catch {}
  const wanted = [kept, ...navigator.languages].map((name) => name?.slice(0, 2));
  return wanted.find((name) => name in ALL) ?? "en";
}
