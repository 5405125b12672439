// The language of the browser, or the one that was chosen; every page says its texts in it.

const KEPT = "stream.language";

/** The languages there are, each by its own name. */
export const LANGUAGES = { en: "English", de: "Deutsch" };

let language = preferred();
let plural = new Intl.PluralRules(language);

export function current() {
  return language;
}

/** Has the page speak `name` from now on, and at the next visit. */
export function speak(name) {
  language = name;
  plural = new Intl.PluralRules(language);
  // Storage that is refused costs the choice at the next visit, and nothing else.
  try {
    localStorage.setItem(KEPT, name);
  } catch {}
}

/**
 * Returns what says the texts of `all`, which holds those of each language: called with the key of
 * a text, and with values for the places of their names. Where a text differs by number, `count`
 * is the number of things.
 */
export function sayer(all) {
  return (key, values = {}) => {
    const text = all[language][key] ?? all.en[key] ?? key;
    const chosen = typeof text === "string" ? text : (text[plural.select(values.count ?? 0)] ?? text.other);
    return chosen.replace(/\{(\w+)\}/g, (_, name) => {
      const value = values[name];
      return typeof value === "number" ? value.toLocaleString(language) : value;
    });
  };
}

function preferred() {
  let kept;
  try {
    kept = localStorage.getItem(KEPT);
  } catch {}
  const wanted = [kept, ...navigator.languages].map((name) => name?.slice(0, 2));
  return wanted.find((name) => name in LANGUAGES) ?? "en";
}
