/** Numbers and states as words. */

export const STATES = {
  queued: "Waiting",
  running: "Being made",
  completed: "Ready",
  failed: "Failed",
  cancelled: "Cancelled",
};
export const FINAL = new Set(["completed", "failed", "cancelled"]);

/** "8 s", "0.4 s", "2 min 05 s". */
export function duration(seconds) {
  if (seconds < 60) return `${Number(seconds.toFixed(1))} s`;
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
}

/** "1:05" as on a player. */
export function clock(seconds) {
  const whole = Math.floor(Math.max(0, seconds || 0) + 0.001);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

export function ago(iso) {
  const seconds = (Date.now() - Date.parse(iso)) / 1000;
  if (seconds < 60) return "just now";
  const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  if (seconds < 3600) return words.format(-Math.floor(seconds / 60), "minute");
  if (seconds < 86400) return words.format(-Math.floor(seconds / 3600), "hour");
  return words.format(-Math.floor(seconds / 86400), "day");
}

export function bytes(count) {
  return count < 1e6
    ? `${Math.max(1, Math.round(count / 1e3))} kB`
    : `${(count / 1e6).toFixed(1)} MB`;
}

/** Title of a request in a list: its first prompt. */
export function titleOf(request) {
  const first = request.prompt || request.prompts?.[0] || request.sections?.[0]?.prompt;
  return first || "Music without a prompt";
}

export const isNotCommercial = (licence) => /\bNC\b/i.test(licence);

/** "CC-BY-NC-4.0: not for commercial use". */
export function licence(name) {
  return isNotCommercial(name) ? `${name}: not for commercial use` : name;
}

/** "a note" as "A note." */
export function sentence(text) {
  const end = /[.!?]$/.test(text) ? "" : ".";
  return text.charAt(0).toUpperCase() + text.slice(1) + end;
}

/** A file name of the prompt's letters. */
export function fileName(prompt, seed, extension) {
  const words = prompt.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? ["music"];
  return `${words.join("-").slice(0, 48)}-${seed}.${extension}`;
}
