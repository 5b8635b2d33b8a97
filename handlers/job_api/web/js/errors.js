/** Errors in a musician's words, by their code; else the server's own message. */

import { rawText, say } from "./language.js";
import { FIELDS } from "./request_fields.js";
import { duration, sentence } from "./words.js";

/**
 * The text of an error of a call or a job: `{code, message, field, retryAfter}`, and of a refused
 * sound `{reason, values}`.
 */
export function tell(error) {
  const sound = `refused.${error.reason}`;
  if (error.reason && rawText(sound) !== undefined) return say(sound, error.values ?? {});
  const { min, max } = FIELDS[error.field] ?? {};
  const reason = sentence(withoutField(error));
  const own = `error.${error.code}`;
  const key = fits(rawText(own), { min, max }) ? own : "error.unknown";
  const wait = error.retryAfter ? duration(error.retryAfter) : say("error.a-moment");
  return say(key, { min, max, wait, reason });
}

/** Whether there is a text, and the field has the limits named in it. */
function fits(text, limits) {
  return text !== undefined && Object.keys(limits).every(
    (name) => !text.includes(`{${name}}`) || typeof limits[name] === "number",
  );
}

/** The server puts the name of the field in front for programs; the control shows which it is. */
function withoutField({ field, message }) {
  return message.startsWith(`${field} `) ? message.slice(field.length + 1) : message;
}
