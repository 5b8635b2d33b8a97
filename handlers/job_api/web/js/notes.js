/** Notes on a result in the reader's language, by their code; else the server's own text. */

import { rawText, say } from "./language.js";
import { sentence } from "./words.js";

/** The text of each note of a job's `result`. */
export function tellNotes({ notes = [], note_details: details = null }) {
  if (!details?.length) return notes.map(sentence);
  return details.map(({ code, values, text }) =>
    rawText(`note.${code}`) === undefined ? sentence(text) : say(`note.${code}`, values),
  );
}
