/** The sound of a request, uploaded while the rest of the form is filled in. */

import * as api from "./api.js";
import { $, announce, setText } from "./dom.js";
import { tell } from "./errors.js";
import { FieldError, clearErrors, showFieldError } from "./form.js";
import { say } from "./language.js";
import { modelFollowsMelody } from "./models.js";
import { chooseWhole, forgetRegion, showRegion } from "./region.js";
import { bytes, duration } from "./words.js";

const LARGEST_BYTES = 100e6;
/**
 * `input`: the address for the request. `sending`: the upload that runs. `refused`: why the sound
 * cannot be used; a request waits until the person has decided what to do without it.
 */
const NOTHING = { input: null, sending: null, address: null, refused: null, blob: null, kept: null };
const state = { ...NOTHING };
let controller = null;
/** Counts the changes of the sound. */
let turn = 0;

/**
 * Returns "upload:..." or null, after the end of an upload. Throws: `FieldError` if the sound was
 * refused, or changed meanwhile: the request would be another one without it.
 */
export async function soundToSend() {
  const before = turn;
  await state.sending?.catch(() => {});
  if (state.refused) throw new FieldError("input_audio", state.refused);
  if (turn !== before) throw new FieldError("input_audio", say("sound.changed"));
  return state.input;
}

/** The address of the sound in the form, or null while there is none. */
export const soundNow = () => state.input;

/** What the page needs to show this sound after a reload, or null. */
export const soundToKeep = () => state.kept;

/** Uploads `blob`. `name`: its name on the page. */
export function takeSound(blob, name) {
  forget();
  controller = new AbortController();
  const { signal } = controller;
  state.address = URL.createObjectURL(blob);
  Object.assign(state, { blob, kept: { name } });
  const hadFocus = $("sound-file").contains(document.activeElement);
  showUpload(say("sound.uploading", { name, size: bytes(blob.size) }));
  if (hadFocus) $("upload-remove").focus();
  $("upload-progress").hidden = false;
  const onProgress = (part) => {
    $("upload-progress").value = part;
  };
  state.sending = api
    .upload(blob, onProgress, signal)
    .then((answer) => signal.aborted || arrived(answer, name))
    .catch((error) => refuse(error, name));
  // The form may not wait for it yet; `soundToSend` reports the error.
  state.sending.catch(() => {});
  changed();
  return state.sending;
}

function showUpload(text) {
  $("sound-group").open = true;
  $("upload").hidden = false;
  $("sound-file").hidden = true;
  setText($("upload-text"), text);
}

function arrived(answer, name) {
  const kept = {
    input: answer.input_audio,
    name,
    seconds: answer.seconds,
    size: answer.bytes,
  };
  Object.assign(state, { input: kept.input, sending: null, kept });
  $("upload-progress").hidden = true;
  setText($("upload-text"), described(kept));
  const preview = $("upload-preview");
  // The waveform first: it would fetch a source by its address, as the policy forbids for blobs.
  showRegion(preview, { ...state, seconds: answer.seconds });
  preview.src = state.address;
  preview.hidden = false;
  announce(say("sound.uploaded", { name }));
  changed();
}

function described({ name, seconds, size }) {
  const facts = [seconds ? duration(seconds) : null, size ? bytes(size) : null].filter(Boolean);
  return facts.length ? `${name} (${facts.join(", ")})` : name;
}

/**
 * Shows the sound of an earlier upload, which is not here to listen to. `kept` without an `input`:
 * the sound was refused, or the page was closed before it had arrived.
 */
export function restoreSound(kept) {
  forget();
  if (!kept.input) {
    Object.assign(state, { refused: reasonOf(kept), kept });
    showRefusal(kept.name, false);
    return;
  }
  Object.assign(state, { input: kept.input, kept });
  $("upload-progress").hidden = true;
  showUpload(described(kept));
  changed();
}

/** Why the sound kept as `kept` is not in the form, also in another language after a reload. */
function reasonOf({ error, tooLarge }) {
  if (tooLarge) {
    return say("sound.too-large", { size: bytes(tooLarge), most: bytes(LARGEST_BYTES) });
  }
  return error ? tell(error) : say("sound.lost");
}

/** What `tell` needs of a lasting refusal; another upload may succeed after any other error. */
function errorToKeep({ isWorthRepeating, code, message, field, reason, values }) {
  return isWorthRepeating ? null : { code, message, field, reason, values };
}

function refuse(error, name) {
  if (error.name === "AbortError") return;
  const { blob } = state;
  forget();
  Object.assign(state, { refused: tell(error), blob, kept: { name, error: errorToKeep(error) } });
  showRefusal(name, error.isWorthRepeating);
  throw error;
}

function showRefusal(name, isWorthRepeating) {
  $("sound-group").open = true;
  $("refused").hidden = false;
  setText($("refused-text"), say("sound.refused", { name }));
  const again = $("refused-again");
  again.hidden = !isWorthRepeating;
  again.onclick = () => takeSound(state.blob, name).catch(() => {});
  clearErrors();
  showFieldError("input_audio", state.refused);
}

/** Takes the sound out of the form. */
export function forget() {
  turn += 1;
  controller?.abort();
  if (state.address) URL.revokeObjectURL(state.address);
  Object.assign(state, NOTHING);
  forgetRegion();
  const preview = $("upload-preview");
  preview.removeAttribute("src");
  preview.hidden = true;
  // An element of its own for the next sound: this one keeps its address, though it is revoked.
  preview.replaceWith(preview.cloneNode());
  $("upload").hidden = $("refused").hidden = true;
  $("sound-file").hidden = false;
  $("f-input_audio").value = "";
  $("upload-progress").value = 0;
  changed();
}

function changed() {
  const form = $("request");
  const continues = form.elements.continuation.value === "true";
  const there = state.input !== null || state.sending !== null;
  $("continuation-part").hidden = !there;
  const deaf = there && !continues && !modelFollowsMelody();
  setText($("sound-warning"), deaf ? say("sound.deaf") : "");
  form.dispatchEvent(new Event("optionschange"));
}

function chosen(file) {
  chooseWhole();
  if (file.size <= LARGEST_BYTES) {
    takeSound(file, file.name).catch(() => {});
    return;
  }
  forget();
  const kept = { name: file.name, tooLarge: file.size };
  Object.assign(state, { refused: reasonOf(kept), kept });
  showRefusal(file.name, false);
}

export function startSound() {
  $("f-input_audio").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file) chosen(file);
  });
  for (const button of ["upload-remove", "refused-drop"]) {
    $(button).addEventListener("click", () => {
      chooseWhole();
      forget();
      clearErrors();
      $("f-input_audio").focus();
    });
  }
  for (const radio of $("request").elements.continuation) radio.addEventListener("change", changed);
  $("f-model_version").addEventListener("change", changed);
  $("request").addEventListener("reset", () => setTimeout(changed));
}
