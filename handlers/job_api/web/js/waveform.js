/** Waveforms, drawn by wavesurfer.js in the colours of the theme. */

import WaveSurfer from "../vendor/wavesurfer/wavesurfer.esm.js";
import { h } from "./dom.js";

const WAVE_HEIGHT = 72;
/** Longer music would be decoded as a whole only to be drawn. */
const DRAWN_MOST_SECONDS = 600;

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
function drawInto(stage, audio, url, blob) {
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
  // The policy of the page lets no script fetch a blob by its address.
  return { surfer, load: () => (blob ? surfer.loadBlob(blob) : surfer.load(url)) };
}

/** Draws the waveform when `wave` is on the page; until then, and if it fails, a plain bar. */
export function draw({ stage, wave, audio, address, seconds, blob = null }) {
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
  const { surfer, load } = drawInto(stage, audio, address, blob);
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
