/** The part of an uploaded sound that is continued or followed, chosen on its waveform. */

import { $, h, setText } from "./dom.js";
import { say } from "./language.js";
import { moveOf } from "./slider_keys.js";
import { draw } from "./waveform.js";
import { duration } from "./words.js";

const LEAST_SECONDS = 0.1;
const STEP_SECONDS = 0.1;
const LEAP_SECONDS = 1;

const startField = () => $("f-continuation_start");
const endField = () => $("f-continuation_end");
const rounded = (seconds) => Math.round(seconds * 10) / 10;
let shown = null;

/** The part as the fields say it; an empty end is the end of the sound. */
function part(seconds) {
  const start = Math.min(Number(startField().value) || 0, seconds);
  const end = endField().value === "" ? seconds : Math.min(Number(endField().value), seconds);
  return { start, end };
}

function write(field, value) {
  field.value = value;
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

function setStart(seconds, value) {
  const most = part(seconds).end - LEAST_SECONDS;
  write(startField(), rounded(Math.max(0, Math.min(value, most))));
}

function setEnd(seconds, value) {
  const least = part(seconds).start + LEAST_SECONDS;
  const end = rounded(Math.max(least, value));
  write(endField(), end >= rounded(seconds) ? "" : end);
}

/** A handle: a slider that is dragged or moved by keys. `read` and `move` work in seconds. */
function handle(kind, label, seconds, read, move) {
  const element = h("div", {
    class: `region-handle ${kind}`,
    role: "slider",
    tabindex: "0",
    "aria-label": label,
    "aria-valuemin": "0",
    "aria-valuemax": seconds.toFixed(1),
  });
  element.addEventListener("keydown", (event) => {
    const distance = moveOf(event.key, STEP_SECONDS, LEAP_SECONDS);
    if (distance === undefined) return;
    event.preventDefault();
    move(read() + distance);
  });
  element.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    element.focus();
    element.setPointerCapture(event.pointerId);
  });
  element.addEventListener("pointermove", (event) => {
    if (!element.hasPointerCapture(event.pointerId)) return;
    const box = element.parentElement.getBoundingClientRect();
    move(((event.clientX - box.left) / box.width) * seconds);
  });
  return element;
}

/** Shows the waveform of the sound `blob` that `audio` plays from `address`. */
export function showRegion(audio, { address, blob, seconds }) {
  forgetRegion();
  if (!seconds) return;
  const [wave, stage] = [h("div", { class: "wave" }), h("div", { class: "stage" })];
  const from = handle(
    "from",
    say("region.start"),
    seconds,
    () => part(seconds).start,
    (value) => setStart(seconds, value),
  );
  const to = handle(
    "to",
    say("region.end"),
    seconds,
    () => part(seconds).end,
    (value) => setEnd(seconds, value),
  );
  const box = h("div", { class: "region-box" }, wave, h("div", { class: "region-part" }), from, to);
  const text = h("p", { class: "hint" });
  const listen = h(
    "button",
    { type: "button", class: "quiet", onclick: () => play(audio, part(seconds).start) },
    say("region.listen"),
  );
  const update = () => {
    const { start, end } = part(seconds);
    box.style.setProperty("--from", start / seconds);
    box.style.setProperty("--to", end / seconds);
    for (const [element, value] of [
      [from, start],
      [to, end],
    ]) {
      element.setAttribute("aria-valuenow", value.toFixed(1));
      element.setAttribute("aria-valuetext", duration(value));
    }
    setText(text, say("region.part", { start: duration(start), end: duration(end) }));
  };
  const stopAtEnd = () => {
    if (shown?.plays && audio.currentTime >= part(seconds).end) audio.pause();
  };
  const stopped = () => {
    if (shown) shown.plays = false;
  };
  audio.addEventListener("timeupdate", stopAtEnd);
  audio.addEventListener("pause", stopped);
  $("request").addEventListener("input", update);
  $("request").addEventListener("optionschange", update);
  // Before it is in the document: see `waveform.js`.
  const drawn = draw({ stage, wave, audio, address, seconds, blob });
  $("region").replaceChildren(box, h("div", { class: "upload-line" }, text, listen));
  $("region").hidden = false;
  shown = {
    plays: false,
    destroy() {
      drawn();
      audio.pause();
      audio.removeEventListener("timeupdate", stopAtEnd);
      audio.removeEventListener("pause", stopped);
      $("request").removeEventListener("input", update);
      $("request").removeEventListener("optionschange", update);
    },
  };
  update();
}

function play(audio, start) {
  audio.currentTime = start;
  if (shown) shown.plays = true;
  audio.play().catch(() => {});
}

/** Chooses the whole sound again: the part was one of a sound that goes. */
export function chooseWhole() {
  write(startField(), startField().defaultValue);
  write(endField(), endField().defaultValue);
}

export function forgetRegion() {
  shown?.destroy();
  shown = null;
  $("region").hidden = true;
  $("region").replaceChildren();
}
