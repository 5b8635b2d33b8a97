/** Listening to the clips of a job in turn, from the same position: A and B. */

import { announce, h } from "./dom.js";
import { say } from "./language.js";

/** The players on the page, in the order of their clips, and the one heard last. */
let players = [];
let current = 0;

/** Takes the players of the job on display. */
export function showPlayers(list) {
  players = list;
  current = 0;
  for (const [index, { audio }] of players.entries()) {
    audio.addEventListener("play", () => {
      current = index;
    });
  }
}

/** Plays or pauses the clip heard last. */
export function togglePlaying() {
  players[current]?.toggle();
}

/** Plays clip `index` from where the one heard last is; false where there is no such clip. */
export function switchTo(index) {
  const next = players[index];
  if (!next) return false;
  if (index === current) {
    if (next.audio.paused) next.toggle();
    return true;
  }
  const before = players[current].audio;
  next.audio.currentTime = before.currentTime;
  before.pause();
  if (next.audio.paused) next.toggle();
  announce(say("compare.now", { number: index + 1 }));
  return true;
}

/** Buttons to switch between the clips shown, or null for a single one. */
export function compareView() {
  if (players.length < 2) return null;
  const buttons = players.map(({ audio }, index) => {
    const button = h(
      "button",
      {
        type: "button",
        class: "quiet",
        "aria-pressed": "false",
        "aria-label": say("compare.clip", { number: index + 1 }),
        onclick: () => switchTo(index),
      },
      String(index + 1),
    );
    for (const event of ["play", "pause", "ended"]) {
      audio.addEventListener(event, () => button.setAttribute("aria-pressed", !audio.paused));
    }
    return button;
  });
  return h(
    "div",
    { class: "compare", role: "group", "aria-label": say("compare.label") },
    h("span", { class: "muted", "aria-hidden": "true" }, say("compare.label")),
    buttons,
  );
}
