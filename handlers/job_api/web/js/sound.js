/** The sound of a request, uploaded while the rest of the form is filled in. */

import * as api from "./api.js";
import { $, announce, setText } from "./dom.js";
import { clearErrors, showFieldError } from "./form.js";
import { modelFollowsMelody } from "./models.js";
import { bytes, duration } from "./words.js";

const LARGEST_BYTES = 100e6;
const state = { input: null, sending: null, address: null };

/** Returns "upload:..." or null, after the end of an upload. Rejects if the upload failed. */
export async function soundToSend() {
  await state.sending;
  return state.input;
}

let controller = null;

/** Uploads `blob`. `name`: its name on the page. */
export function takeSound(blob, name) {
  forget();
  controller = new AbortController();
  const { signal } = controller;
  state.address = URL.createObjectURL(blob);
  $("sound-group").open = true;
  const hadFocus = document.activeElement === $("f-input_audio");
  $("upload").hidden = false;
  $("sound-file").hidden = true;
  if (hadFocus) $("upload-remove").focus();
  $("upload-progress").hidden = false;
  setText($("upload-text"), `Uploading ${name} (${bytes(blob.size)})`);
  state.sending = api
    .upload(
      blob,
      (part) => {
        $("upload-progress").value = part;
      },
      signal,
    )
    .then((answer) => arrived(answer, name))
    .catch((error) => refused(error));
  // The form may not wait for it yet; `soundToSend` reports the error.
  state.sending.catch(() => {});
  changed();
  return state.sending;
}

function arrived(answer, name) {
  state.input = answer.input_audio;
  state.sending = null;
  $("upload-progress").hidden = true;
  const length = answer.seconds ? `${duration(answer.seconds)}, ` : "";
  setText($("upload-text"), `${name} (${length}${bytes(answer.bytes)})`);
  const preview = $("upload-preview");
  preview.src = state.address;
  preview.hidden = false;
  announce(`${name} is uploaded`);
  changed();
}

function refused(error) {
  if (error.name === "AbortError") return;
  forget();
  clearErrors();
  showFieldError("input_audio", error.message);
  throw error;
}

/** Takes the sound out of the form. */
export function forget() {
  controller?.abort();
  if (state.address) URL.revokeObjectURL(state.address);
  Object.assign(state, { input: null, sending: null, address: null });
  const preview = $("upload-preview");
  preview.removeAttribute("src");
  preview.hidden = true;
  $("upload").hidden = true;
  $("sound-file").hidden = false;
  $("f-input_audio").value = "";
  $("upload-progress").value = 0;
  changed();
}

function changed() {
  const form = $("request");
  const continues = form.elements.continuation.value === "true";
  const there = state.input !== null || state.sending !== null;
  $("continuation-part").hidden = !continues;
  const deaf = there && !continues && !modelFollowsMelody();
  const text = "This model follows only text. Choose a melody model, or continue the clip instead.";
  setText($("sound-warning"), deaf ? text : "");
  form.dispatchEvent(new Event("optionschange"));
}

export function startSound() {
  $("f-input_audio").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file && file.size > LARGEST_BYTES) {
      event.target.value = "";
      clearErrors();
      const limit = `The limit is ${bytes(LARGEST_BYTES)}.`;
      showFieldError("input_audio", `${file.name} is too large (${bytes(file.size)}). ${limit}`);
    } else if (file) takeSound(file, file.name).catch(() => {});
  });
  $("upload-remove").addEventListener("click", () => {
    forget();
    $("f-input_audio").focus();
  });
  for (const radio of $("request").elements.continuation) radio.addEventListener("change", changed);
  $("f-model_version").addEventListener("change", changed);
  $("request").addEventListener("reset", () => setTimeout(changed));
}
