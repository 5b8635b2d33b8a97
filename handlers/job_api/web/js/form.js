/** Conversion between the form and a request, and errors beside their controls. */

import { $, h } from "./dom.js";
import { isNumber } from "./fields.js";
import { sayCount, say } from "./language.js";
import { sections, setSections } from "./sections.js";

export class FieldError extends Error {
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

const form = () => $("request");
const controlOf = (name) => $(`f-${name}`);
/** Controls with special treatment, because they are more than one control with one value. */
const SPECIAL = new Set(["prompts", "sections", "input_audio", "continuation", "model_version"]);

function isDefault(control) {
  if (control.type === "checkbox") return control.checked === control.defaultChecked;
  if (control.tagName !== "SELECT") return control.value === control.defaultValue;
  const first = [...control.options].find((option) => option.defaultSelected) ?? control.options[0];
  return control.value === first?.value;
}

function plainControls() {
  return [...form().elements].filter(
    (control) => control.name && control.type !== "radio" && !SPECIAL.has(control.name),
  );
}

function valueOf(control) {
  if (control.type === "checkbox") return control.checked;
  if (!isNumber(control.name)) return control.value;
  if (control.validity.badInput) throw new FieldError(control.name, say("form.number"));
  return control.value === "" ? null : Number(control.value);
}

/**
 * Returns the request of the form without defaults. `sound`: the uploaded one, or null. Throws:
 * `FieldError`. The server checks the limits, with the same messages on every platform.
 */
export function collect(sound) {
  const body = { prompt: controlOf("prompt").value };
  for (const control of plainControls()) {
    const value = valueOf(control);
    const left = control.name === "duration" ? control.disabled : isDefault(control);
    if (!left && value !== null && value !== "") body[control.name] = value;
  }
  const model = controlOf("model_version");
  if (model.value && !model.selectedOptions[0].hasAttribute("data-default")) {
    body.model_version = model.value;
  }
  const more = controlOf("prompts")
    .value.split("\n")
    .map((line) => line.trim())
    .filter(Boolean);
  if (more.length) {
    body.prompts = body.prompt.trim() ? [body.prompt, ...more] : more;
    delete body.prompt;
  }
  const parts = sections();
  if (parts) body.sections = parts;
  if (sound) body.input_audio = sound;
  addContinuation(body, sound);
  return body;
}

function addContinuation(body, sound) {
  const continues = form().elements.continuation.value === "true";
  if (sound && continues) body.continuation = true;
  if (sound) return;
  delete body.continuation_start;
  delete body.continuation_end;
}

/** Sets the options `names` of the form to those of `request`, or else to their defaults. */
export function setOptions(request, names) {
  for (const name of names) {
    const control = controlOf(name);
    if (control.type === "checkbox") control.checked = request[name] ?? control.defaultChecked;
    else control.value = request[name] ?? control.defaultValue;
  }
  form().dispatchEvent(new Event("optionschange"));
}

/** Shows `request` in the form, with defaults for missing fields and without its sound. */
export function fill(request) {
  clearErrors();
  form().reset();
  const given = { ...request };
  if (given.prompts?.length) {
    [given.prompt, ...given.prompts] = given.prompts;
    controlOf("prompts").value = given.prompts.join("\n");
  }
  for (const control of plainControls()) {
    const value = given[control.name];
    if (value === undefined || value === null) continue;
    if (control.type === "checkbox") control.checked = value;
    else if (!(control.name === "seed" && value < 0)) control.value = value;
  }
  const model = controlOf("model_version");
  const known = [...model.options].some(
    (option) => option.value === given.model_version && !option.disabled,
  );
  if (known) model.value = given.model_version;
  form().elements.continuation.value = String(given.continuation ?? false);
  if (given.continuation_end === -1) controlOf("continuation_end").value = "";
  setSections(given.sections);
  openWhatIsSet();
  form().dispatchEvent(new Event("optionschange"));
}

const groups = () => form().querySelectorAll(".options details");

/** Whether a control inside `details` says something; counted for its badge. */
function isSet(control) {
  if (control.name === "input_audio" || control.type === "radio" || !control.name) return false;
  return !isDefault(control);
}

function countOf(details) {
  const rows = details.querySelectorAll(".section-row").length;
  const sound = details.querySelector("#upload:not([hidden]), #refused:not([hidden])") ? 1 : 0;
  const controls = [...details.querySelectorAll("input, select, textarea")];
  return controls.filter(isSet).length + (rows ? 1 : 0) + sound;
}

/** Unfolds the groups with something set. */
export function openWhatIsSet() {
  for (const details of groups()) details.open = countOf(details) > 0;
}

/** The badge of each folded group says how much of it is set. */
export function showCounts() {
  for (const details of groups()) {
    const count = countOf(details);
    const badge = details.querySelector(".badge");
    badge.hidden = count === 0;
    badge.textContent = sayCount("form.set", count);
  }
}

export function clearErrors() {
  for (const message of form().querySelectorAll(".field-error")) message.remove();
  for (const control of form().querySelectorAll("[aria-invalid]")) {
    control.removeAttribute("aria-invalid");
  }
  for (const control of form().querySelectorAll("[aria-describedby*='-error']")) {
    const rest = (control.getAttribute("aria-describedby") ?? "")
      .split(" ")
      .filter((id) => !id.endsWith("-error"));
    if (rest.join("")) control.setAttribute("aria-describedby", rest.join(" "));
    else control.removeAttribute("aria-describedby");
  }
}

/** Puts `message`, a sentence, at the control of `field` and the focus there; false where there is none. */
export function showFieldError(field, message) {
  const control = controlOf(String(field).split(/[.[]/)[0]);
  if (!control) return false;
  const id = `${control.id}-error`;
  const line = h("p", { class: "field-error", id }, message);
  const home = control.closest(".field") ?? control;
  home.append(line);
  // A group as such cannot be invalid; a group of radio buttons can.
  const isGroup = control.tagName === "FIELDSET";
  const isRadios = control.getAttribute("role") === "radiogroup";
  (isGroup && !isRadios ? control.querySelector("input") : control)?.setAttribute(
    "aria-invalid",
    "true",
  );
  const described = [control.getAttribute("aria-describedby"), id].filter(Boolean).join(" ");
  control.setAttribute("aria-describedby", described);
  control.closest("details")?.setAttribute("open", "");
  for (let part = control.parentElement; part && part !== form(); part = part.parentElement) {
    part.hidden = false;
  }
  (isGroup ? control.querySelector("input, button") : control).focus();
  control.scrollIntoView({ block: "center" });
  return true;
}
