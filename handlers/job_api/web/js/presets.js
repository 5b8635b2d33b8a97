/** Styles to start from: each sets the prompt and the options of its kind of music. */

import { $, announce } from "./dom.js";
import { setOptions, showCounts } from "./form.js";
import { say } from "./language.js";

/** The prompts are in English, as the models were trained. */
const PRESETS = [
  { label: say("preset.piano"), request: { prompt: "Upbeat piano melody in C major" } },
  {
    label: say("preset.lofi"),
    request: {
      prompt: "Lofi hip hop with warm keys and vinyl noise",
      loop: true,
      bpm: 85,
      duration: 11.3,
    },
  },
  {
    label: say("preset.orchestra"),
    request: { prompt: "Epic orchestra with choir and timpani", duration: 20, fade_out: 2 },
  },
  { label: say("preset.bells"), request: { prompt: "Fast high bells with drums" } },
  {
    label: say("preset.ambient"),
    request: {
      prompt: "Slow ambient pads, wide and calm, no drums",
      duration: 60,
      fade_in: 3,
      fade_out: 5,
    },
  },
  {
    label: say("preset.drums"),
    request: {
      prompt: "Tight electronic drum loop, dry kick and snare",
      loop: true,
      bpm: 120,
      duration: 8,
    },
  },
  {
    label: say("preset.jingle"),
    request: {
      prompt: "Short bright jingle with marimba and claps",
      duration: 4,
      variations: 4,
      trim_silence: true,
    },
  },
];

/** All options of any preset: one preset must leave nothing of another one behind. */
const NAMES = new Set(PRESETS.flatMap(({ request }) => Object.keys(request)));

export function startPresets() {
  $("presets").replaceChildren(
    ...PRESETS.map(({ label, request }) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", className: "chip", textContent: label });
      button.addEventListener("click", () => {
        setOptions(request, NAMES);
        showCounts();
        $("f-prompt").focus();
        announce(say("preset.set", { label }));
      });
      return button;
    }),
  );
}
