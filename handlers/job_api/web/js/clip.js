/** One finished clip: its player, its files and its actions. */

import { h } from "./dom.js";
import { player } from "./player.js";
import { bytes, duration, fileName } from "./words.js";

const DOWNLOADS = ["wav", "flac", "mp3", "ogg"];

const extensionOf = (url) => url.split(/[?#]/)[0].split(".").pop();
const withExtension = (url, extension) => url.replace(/\.[a-z0-9]+(?=$|[?#])/i, `.${extension}`);

function downloads(clip, name) {
  const own = extensionOf(clip.url);
  const extensions = DOWNLOADS.includes(own) ? DOWNLOADS : [own, ...DOWNLOADS];
  const items = extensions.map((extension) => {
    const original = extension === own;
    const size = original && clip.bytes ? `, ${bytes(clip.bytes)}` : "";
    return h(
      "li",
      {},
      h(
        "a",
        {
          class: original ? "file original" : "file",
          href: `${withExtension(clip.url, extension)}?download=true`,
          download: fileName(clip.prompt || "music", clip.seed, extension),
          title: original ? `Original file${size}` : "Converted from the original file",
          "aria-label": `Download ${name} as ${extension}${original ? ", the original file" : ""}`,
        },
        extension,
      ),
    );
  });
  return h(
    "div",
    { class: "downloads" },
    h("span", { class: "muted", "aria-hidden": "true" }, "Download"),
    h("ul", {}, items),
  );
}

/**
 * Returns `{element, destroy}`. `actions` are `useSeed(seed)`, `moreLike(seed)` and
 * `carryOn(clip, button)`. `number` counts from 1. `several`: the job has several clips;
 * `ownPrompt`: each has a prompt of its own.
 */
export function clipView(clip, { number, several, ownPrompt, loops, actions }) {
  const name = several ? `clip ${number}` : "the clip";
  const played = player({ url: clip.url, name, seconds: clip.seconds, loops });
  const title = several ? h("h3", {}, ownPrompt ? clip.prompt : `Clip ${number}`) : null;
  const action = (label, run) =>
    h(
      "button",
      {
        type: "button",
        class: "quiet",
        "aria-label": several ? `${label}: clip ${number}` : null,
        onclick: (event) => run(event.currentTarget),
      },
      label,
    );
  const element = h(
    "li",
    { class: "clip" },
    h(
      "div",
      { class: "clip-head" },
      title,
      h(
        "p",
        { class: "muted" },
        `${duration(clip.seconds)} · seed `,
        h("span", { class: "seed" }, String(clip.seed)),
      ),
    ),
    played.element,
    downloads(clip, name),
    h(
      "div",
      { class: "actions" },
      action("Use this seed", () => actions.useSeed(clip.seed)),
      action("More like this", () => actions.moreLike()),
      action("Continue this", (button) => actions.carryOn(clip, button)),
    ),
  );
  return { element, destroy: played.destroy };
}
