/** A player of one clip: a button, the waveform as a slider, the time. */

import { h, icon } from "./dom.js";
import { say } from "./language.js";
import { moveOf } from "./slider_keys.js";
import { draw } from "./waveform.js";
import { clock } from "./words.js";

const STEP_SECONDS = 1;
const LEAP_SECONDS = 10;

const playing = new Set();

function handleKeys(audio, toggle) {
  return (event) => {
    const move = moveOf(event.key, STEP_SECONDS, LEAP_SECONDS);
    if (event.key === " ") toggle();
    else if (move !== undefined) {
      const end = audio.duration || 0;
      audio.currentTime = Math.min(end, Math.max(0, audio.currentTime + move));
    } else return;
    event.preventDefault();
  };
}

/**
 * Returns `{element, audio, toggle, destroy}`. `name` is what screen readers call it, `seconds` its length,
 * `loops` whether it goes round. Plays also where the waveform cannot be drawn.
 */
export function player({ url, name, seconds, loops }) {
  const address = new URL(url, location.href).href;
  const audio = h("audio", { src: address, preload: "metadata", loop: loops });
  const button = h(
    "button",
    { type: "button", class: "play", "aria-label": say("player.play", { name }) },
    icon("play"),
  );
  const stage = h("div", { class: "stage" });
  const wave = h("div", {
    class: "wave",
    tabindex: "0",
    role: "slider",
    "aria-label": say("player.position", { name }),
    "aria-valuemin": "0",
    "aria-valuemax": seconds.toFixed(1),
    "aria-valuenow": "0",
  });
  const time = h("span", { class: "time" });
  const trouble = h("p", { class: "field-error", role: "alert", hidden: true });

  function toggle() {
    if (audio.error) {
      trouble.hidden = true;
      audio.load();
    }
    if (!audio.paused) audio.pause();
    else
      audio.play().catch((error) => {
        if (error.name !== "AbortError") showTrouble();
      });
  }

  function showTrouble() {
    trouble.hidden = false;
    trouble.textContent = say("player.not-loaded");
  }

  function showTime() {
    const now = audio.currentTime;
    const text = say("player.time", { now: clock(now), all: clock(seconds) });
    time.textContent = `${clock(now)} / ${clock(seconds)}`;
    wave.setAttribute("aria-valuenow", now.toFixed(1));
    wave.setAttribute("aria-valuetext", text);
    stage.style.setProperty("--played", seconds ? Math.min(1, now / seconds) : 0);
  }

  function showState() {
    button.replaceChildren(icon(audio.paused ? "play" : "pause"));
    const label = audio.paused ? say("player.play", { name }) : say("player.pause", { name });
    button.setAttribute("aria-label", label);
    if (audio.paused) playing.delete(audio);
    else {
      for (const other of playing) if (other !== audio) other.pause();
      playing.add(audio);
    }
  }

  button.addEventListener("click", toggle);
  wave.addEventListener("keydown", handleKeys(audio, toggle));
  audio.addEventListener("timeupdate", showTime);
  audio.addEventListener("seeked", showTime);
  for (const event of ["play", "pause", "ended"]) audio.addEventListener(event, showState);
  audio.addEventListener("error", () => audio.src && showTrouble());
  showTime();

  const drawn = draw({ stage, wave, audio, address, seconds });
  const element = h("div", { class: "player" }, button, wave, time, audio, trouble);
  return {
    element,
    audio,
    toggle,
    destroy() {
      audio.pause();
      playing.delete(audio);
      drawn();
      audio.removeAttribute("src");
    },
  };
}
