/**
 * Keeps what is in the form over a reload of this tab, until signing out.
 *
 * It lies in the session's storage: another tab has a form of its own. The API key is in no field
 * of this form.
 */

import { $ } from "./dom.js";
import { openWhatIsSet } from "./form.js";
import { sections, setSections } from "./sections.js";
import { restoreSound, soundToKeep } from "./sound.js";

const KEPT = "musicgen-draft";
const PAUSE_MS = 300;

const controls = () =>
  [...$("request").elements].filter(({ name, type }) => name && type !== "file");

function read() {
  const values = {};
  for (const control of controls()) {
    if (control.type === "checkbox") values[control.name] = control.checked;
    else if (control.type !== "radio" || control.checked) values[control.name] = control.value;
  }
  return { values, sections: sections(), sound: soundToKeep() };
}

function write() {
  if ($("studio").hidden) return;
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(read()));
  } catch {
    // Without storage the form lasts as long as the page.
  }
}

/** Fills the form with what was kept. The models must be there already. */
export function restoreDraft() {
  let kept = null;
  try {
    kept = JSON.parse(sessionStorage.getItem(KEPT));
  } catch {
    // Nothing readable is nothing kept.
  }
  if (!kept) return;
  for (const control of controls()) {
    const value = kept.values[control.name];
    if (value === undefined) continue;
    if (control.type === "checkbox") control.checked = value;
    else if (control.type === "radio") control.checked = control.value === value;
    else if (control.tagName !== "SELECT" || hasOption(control, value)) control.value = value;
  }
  setSections(kept.sections);
  if (kept.sound) restoreSound(kept.sound);
  openWhatIsSet();
  $("request").dispatchEvent(new Event("optionschange"));
}

const hasOption = (select, value) => [...select.options].some((option) => option.value === value && !option.disabled);

export function dropDraft() {
  try {
    sessionStorage.removeItem(KEPT);
  } catch {
    // Nothing was kept then.
  }
}

export function startDraft() {
  let timer = 0;
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(write, PAUSE_MS);
  };
  for (const event of ["input", "change", "optionschange"]) {
    $("request").addEventListener(event, later);
  }
  window.addEventListener("pagehide", write);
}
