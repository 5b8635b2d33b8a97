/** Numbers and states as words. */

import { keepUnits, language, number, say } from "./language.js";

/** The keys are written out, so that each can be found. */
export const STATES = {
  queued: say("state.queued"),
  running: say("state.running"),
  completed: say("state.completed"),
  failed: say("state.failed"),
  cancelled: say("state.cancelled"),
};
export const FINAL = new Set(["completed", "failed", "cancelled"]);

const twoDigits = (count) => String(count).padStart(2, "0");

/** "8 s", "0.4 s", "2 min 05 s", "1 h 05 min". */
export function duration(seconds) {
  if (seconds < 59.95) return keepUnits(`${number(seconds, { maximumFractionDigits: 1 })} s`);
  const whole = Math.round(seconds);
  if (whole < 3600) return keepUnits(`${Math.floor(whole / 60)} min ${twoDigits(whole % 60)} s`);
  const minutes = Math.round(seconds / 60);
  return keepUnits(`${number(Math.floor(minutes / 60))} h ${twoDigits(minutes % 60)} min`);
}

/** "7%", in German "7 %". */
export const percent = (part) => number(part, { style: "percent" });

/** "1:05" as on a player. */
export function clock(seconds) {
  const whole = Math.floor(Math.max(0, seconds || 0) + 0.001);
  return `${Math.floor(whole / 60)}:${twoDigits(whole % 60)}`;
}

export function ago(iso) {
  const seconds = (Date.now() - Date.parse(iso)) / 1000;
  if (seconds < 60) return say("words.just-now");
  const words = new Intl.RelativeTimeFormat(language(), { numeric: "auto" });
  if (seconds < 3600) return words.format(-Math.floor(seconds / 60), "minute");
  if (seconds < 86400) return words.format(-Math.floor(seconds / 3600), "hour");
  return words.format(-Math.floor(seconds / 86400), "day");
}

const ONE_DIGIT = { minimumFractionDigits: 1, maximumFractionDigits: 1 };

export function bytes(count) {
  const text =
    count < 999_500
      ? `${number(Math.max(1, Math.round(count / 1e3)))} kB`
      : `${number(count / 1e6, ONE_DIGIT)} MB`;
  return keepUnits(text);
}

/** Title of a request in a list: its first prompt. */
export function titleOf(request) {
  const first = request.prompt || request.prompts?.[0] || request.sections?.[0]?.prompt;
  return first || say("words.no-prompt");
}

const LABEL_CHARACTERS = 80;

/** A title for labels and questions, which a screen reader reads in full. */
export function shortTitle(title) {
  if (title.length <= LABEL_CHARACTERS) return title;
  return `${title.slice(0, LABEL_CHARACTERS).replace(/[\ud800-\udbff]$/, "").trimEnd()}…`;
}

export const isNotCommercial = (licence) => /\bNC\b/i.test(licence);

/** "CC-BY-NC-4.0: not for commercial use". */
export function licence(name) {
  return isNotCommercial(name) ? say("words.not-commercial", { name }) : name;
}

/** "a note" as "A note." */
export function sentence(text) {
  const end = /[.!?]$/.test(text) ? "" : ".";
  return keepUnits(text.charAt(0).toUpperCase() + text.slice(1) + end);
}

const NAME_CHARACTERS = 48;

/** A file name of the prompt's letters. */
export function fileName(prompt, seed, extension) {
  const words = prompt.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? ["music"];
  return `${shortened(words.join("-"))}-${seed}.${extension}`;
}

/** At most 48 characters, without a part of a word at the end. */
function shortened(name) {
  if (name.length <= NAME_CHARACTERS) return name;
  const end = name.slice(0, NAME_CHARACTERS + 1).lastIndexOf("-");
  return name.slice(0, end > 0 ? end : NAME_CHARACTERS);
}
