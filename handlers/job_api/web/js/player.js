/** A player of one clip: a button, the waveform as a slider, the time. */

import WaveSurfer from "../vendor/wavesurfer/wavesurfer.esm.js";
import { h, icon } from "./dom.js";
import { clock } from "./words.js";

const WAVE_HEIGHT = 72;
const STEP_SECONDS = 1;
const LEAP_SECONDS = 10;
/** Longer music would be decoded as a whole only to be drawn. */
const DRAWN_MOST_SECONDS = 600;

const playing = new Set();

/** What a CSS variable comes to as a colour, in the theme that is shown. */
function colour(variable) {
  const probe = h("span");
  probe.style.color = `var(${variable})`;
  document.body.append(probe);
  const result = getComputedStyle(probe).color;
  probe.remove();
  return result;
}

const colours = () => ({ waveColor: colour("--wave"), progressColor: colour("--accent") });

/**
 * The library puts a `style` element into its shadow root, which the page's policy refuses. It is
 * made outside the document, where nothing is applied yet, and has its rules as a sheet instead.
 */
function drawInto(stage, audio, url) {
  const surfer = WaveSurfer.create({
    container: stage,
    media: audio,
    height: WAVE_HEIGHT,
    barWidth: 3,
    barGap: 2,
    barRadius: 3,
    barMinHeight: 2,
    cursorWidth: 0,
    dragToSeek: true,
    normalize: true,
    hideScrollbar: true,
    ...colours(),
  });
  const root = surfer.getWrapper().getRootNode();
  const style = root.querySelector("style");
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(style.textContent);
  style.remove();
  root.adoptedStyleSheets = [sheet];
  return { surfer, load: () => surfer.load(url) };
}

function handleKeys(audio, toggle) {
  return (event) => {
    const end = audio.duration || 0;
    const moves = {
      ArrowRight: STEP_SECONDS,
      ArrowUp: STEP_SECONDS,
      ArrowLeft: -STEP_SECONDS,
      ArrowDown: -STEP_SECONDS,
      PageUp: LEAP_SECONDS,
      PageDown: -LEAP_SECONDS,
      Home: -Infinity,
      End: Infinity,
    };
    if (event.key === " ") toggle();
    else if (event.key in moves) {
      audio.currentTime = Math.min(end, Math.max(0, audio.currentTime + moves[event.key]));
    } else return;
    event.preventDefault();
  };
}

/**
 * Returns `{element, destroy}`. `name` is what screen readers call it, `seconds` its length,
 * `loops` whether it goes round. Plays also where the waveform cannot be drawn.
 */
export function player({ url, name, seconds, loops }) {
  const address = new URL(url, location.href).href;
  const audio = h("audio", { src: address, preload: "metadata", loop: loops });
  const button = h(
    "button",
    { type: "button", class: "play", "aria-label": `Play ${name}` },
    icon("play"),
  );
  const stage = h("div", { class: "stage" });
  const wave = h("div", {
    class: "wave",
    tabindex: "0",
    role: "slider",
    "aria-label": `Position in ${name}`,
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
    trouble.textContent = "The clip could not be loaded. Press play to try again.";
  }

  function showTime() {
    const now = audio.currentTime;
    const text = `${clock(now)} of ${clock(seconds)}`;
    time.textContent = `${clock(now)} / ${clock(seconds)}`;
    wave.setAttribute("aria-valuenow", now.toFixed(1));
    wave.setAttribute("aria-valuetext", text);
    stage.style.setProperty("--played", seconds ? Math.min(1, now / seconds) : 0);
  }

  function showState() {
    const verb = audio.paused ? "Play" : "Pause";
    button.replaceChildren(icon(verb.toLowerCase()));
    button.setAttribute("aria-label", `${verb} ${name}`);
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
    destroy() {
      audio.pause();
      playing.delete(audio);
      drawn();
      audio.removeAttribute("src");
    },
  };
}

/** Draws the waveform when `wave` is on the page; until then, and if it fails, a plain bar. */
function draw({ stage, wave, audio, address, seconds }) {
  wave.append(stage);
  const plain = () => {
    stage.classList.add("plain");
    wave.addEventListener("click", (event) => {
      const box = wave.getBoundingClientRect();
      audio.currentTime = ((event.clientX - box.left) / box.width) * seconds;
    });
  };
  if (seconds > DRAWN_MOST_SECONDS) {
    plain();
    return () => {};
  }
  const { surfer, load } = drawInto(stage, audio, address);
  const recolour = () => surfer.setOptions(colours());
  document.addEventListener("themechange", recolour);
  surfer.on("decode", () => stage.classList.add("drawn"));
  const forget = () => {
    document.removeEventListener("themechange", recolour);
    surfer.destroy();
  };
  let gone = false;
  // A task later, when the caller has put it into the document: its width is known then.
  setTimeout(() => {
    if (!gone) load().catch(() => gone || plain());
  });
  return () => {
    gone = true;
    forget();
  };
}
