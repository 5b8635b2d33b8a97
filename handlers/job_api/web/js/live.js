/** "Listen while it is made": a player on the growing stream of a running job. */

import { h } from "./dom.js";
import { say } from "./language.js";

/**
 * Returns `{element, offer(url, clips), stop(), finish()}`; nothing is fetched before play is
 * pressed.
 */
export function liveView() {
  const audio = h("audio", {
    controls: true,
    preload: "none",
    "aria-label": say("live.listen"),
  });
  const which = h("select", { "aria-label": say("live.which") });
  const label = h(
    "p",
    { class: "live-label" },
    h("span", { class: "live-dot", "aria-hidden": "true" }),
    say("live.listen"),
  );
  const element = h(
    "div",
    { class: "live", hidden: true },
    h("div", { class: "live-head" }, label, which),
    audio,
  );
  let offered = null;

  function choose() {
    const number = Number(which.value);
    const wasPlaying = !audio.paused;
    audio.src = number > 1 ? `${offered}?clip=${number}` : offered;
    if (wasPlaying) audio.play().catch(() => {});
  }

  /** Ends the download too, which the removal of the address alone does not. */
  function unload() {
    audio.removeAttribute("src");
    audio.load();
  }

  which.addEventListener("change", choose);
  return {
    element,
    offer(url, clips) {
      if (!url || offered === url) return;
      offered = url;
      which.replaceChildren(
        ...Array.from({ length: clips }, (_, index) =>
          h("option", { value: index + 1 }, say("clip.title", { number: index + 1 })),
        ),
      );
      which.hidden = clips < 2;
      choose();
      element.hidden = false;
    },
    /** Ends the sound at once; the next offer begins anew. */
    stop() {
      offered = null;
      element.hidden = true;
      unload();
    },
    /** Removes the player; while it is playing, only at the end of the audio. */
    finish() {
      const close = () => {
        unload();
        element.remove();
      };
      if (audio.paused || audio.ended) close();
      else
        for (const event of ["ended", "error", "pause"])
          audio.addEventListener(event, close, { once: true });
    },
  };
}
