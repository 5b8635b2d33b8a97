/**
 * The texts of the page in the reader's language.
 *
 * A table in `texts/` has the same keys in every language (a test compares them). A text names its
 * values in braces: "Seed {seed} is in the form". Numbers appear as the language writes them; pass
 * what is no quantity, such as a seed, as text.
 */

import de from "./texts/de.js";
import en from "./texts/en.js";
import serverDe from "./texts/server_de.js";
import serverEn from "./texts/server_en.js";

const TABLES = { en: { ...en, ...serverEn }, de: { ...de, ...serverDe } };
const KEPT = "musicgen-language";

function remembered() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    // A browser may refuse its storage.
    return null;
  }
}

/** The language chosen on this page, else the browser's first one that has a table, else English. */
export function language() {
  const wanted = [remembered(), ...navigator.languages];
  return wanted.map((name) => name?.slice(0, 2)).find((name) => name in TABLES) ?? "en";
}

/** Keeps the choice and loads the page again in that language. */
export function chooseLanguage(name) {
  try {
    localStorage.setItem(KEPT, name);
  } catch {
    return;
  }
  location.reload();
}

const NAME = language();
const table = TABLES[NAME];
const plural = new Intl.PluralRules(NAME);
const precise = new Intl.NumberFormat(NAME, { maximumFractionDigits: 10 });

/** A number as the language writes it. `options`: those of Intl.NumberFormat. */
export function number(value, options = null) {
  return (options ? new Intl.NumberFormat(NAME, options) : precise).format(value);
}

const UNITS = "s|min|h|kB|MB|GB|k?Hz|kbit/s|LUFS|dB(?:FS|TP)?|bit|Sekunden|seconds|Takte|bars";
const BEFORE_UNIT = new RegExp(`(\\d) (?=(?:${UNITS})(?![\\p{L}\\p{N}]))`, "giu");
const INSIDE_TIMES = /(\d\u00a0(?:h|min)) (?=\d)/g;

/** `text` with no-break spaces between numbers and their units. */
export function keepUnits(text) {
  return text.replace(BEFORE_UNIT, "$1\u00a0").replace(INSIDE_TIMES, "$1\u00a0");
}

/** The text of a key, with its values. */
export function say(key, values = {}) {
  const text = table[key].replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name];
    return typeof value === "number" ? number(value) : value;
  });
  return keepUnits(text);
}

/** The text of a key as it stands in the table, or undefined. */
export const rawText = (key) => table[key];

/** The text of a count: of `KEY.one` or `KEY.other`, with {count}. */
export function sayCount(key, count, values = {}) {
  return say(`${key}.${plural.select(count)}`, { count, ...values });
}

/**
 * Translates the static page: `data-text` names the key of an element's text, `data-text-NAME` that
 * of its attribute NAME.
 */
export function translatePage() {
  document.documentElement.lang = NAME;
  for (const element of document.querySelectorAll("[data-text]")) {
    element.textContent = say(element.dataset.text);
  }
  for (const attribute of ["aria-label", "placeholder"]) {
    for (const element of document.querySelectorAll(`[data-text-${attribute}]`)) {
      element.setAttribute(attribute, say(element.getAttribute(`data-text-${attribute}`)));
    }
  }
}
