/**
 * The texts of the page in the reader's language.
 *
 * A table in `texts/` has the same keys in every language (a test compares them). A text names its
 * values in braces: "Seed {seed} is in the form".
 */

import de from "./texts/de.js";
import en from "./texts/en.js";

const TABLES = { en, de };
const KEPT = "musicgen-language";

/** The language chosen on this page, else the browser's first one that has a table, else English. */
export function language() {
  const wanted = [localStorage.getItem(KEPT), ...navigator.languages];
  return wanted.map((name) => name?.slice(0, 2)).find((name) => name in TABLES) ?? "en";
}

/** Keeps the choice and loads the page again in that language. */
export function chooseLanguage(name) {
  localStorage.setItem(KEPT, name);
  location.reload();
}

const table = TABLES[language()];

/** The text of a key, with its values. */
export function say(key, values = {}) {
  return table[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}
