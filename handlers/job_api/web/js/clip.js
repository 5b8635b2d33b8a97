/** One finished clip: its player, its files and its actions. */

import { h } from "./dom.js";
import { say } from "./language.js";
import { player } from "./player.js";
import { bytes, duration, fileName } from "./words.js";

const DOWNLOADS = ["wav", "flac", "mp3", "ogg"];
/** Keys of the names of stems; the names of others are shown as they are. */
const STEMS = {
  bass: "stem.bass",
  drums: "stem.drums",
  guitar: "stem.guitar",
  other: "stem.other",
  piano: "stem.piano",
  vocals: "stem.vocals",
};

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
          title: original ? say("clip.original", { size }) : say("clip.converted"),
          "aria-label": say(original ? "clip.download-original" : "clip.download-as", { name, extension }),
        },
        extension,
      ),
    );
  });
  if (clip.midi_url) items.push(midiDownload(clip, name));
  for (const part of clip.parts ?? []) {
    if (part.name !== "midi") items.push(stemDownload(clip, part, name));
  }
  return h(
    "div",
    { class: "downloads" },
    h("span", { class: "muted", "aria-hidden": "true" }, say("clip.download")),
    h("ul", {}, items),
  );
}

/** A link to the notes; the server offers it where it has the packages. */
function midiDownload(clip, name) {
  const link = {
    class: "file",
    href: `${clip.midi_url}?download=true`,
    download: fileName(clip.prompt || "music", clip.seed, "mid"),
    title: say("clip.midi"),
    "aria-label": say("clip.midi-download", { name }),
  };
  return h("li", {}, h("a", link, "MIDI"));
}

/** A link to a stem. */
function stemDownload(clip, part, name) {
  const stem = Object.hasOwn(STEMS, part.name) ? say(STEMS[part.name]) : part.name;
  const link = {
    class: "file",
    href: `${part.url}?download=true`,
    download: fileName(clip.prompt || "music", `${clip.seed}-${part.name}`, extensionOf(part.url)),
    title: bytes(part.bytes),
    "aria-label": say("clip.stem-download", { name, stem }),
  };
  return h("li", {}, h("a", link, stem));
}

/**
 * Returns `{element, player, destroy}`. `actions` are `useSeed(seed)`, `moreLike(seed)` and
 * `carryOn(clip, button)`. `number` counts from 1. `several`: the job has several clips;
 * `ownPrompt`: each has a prompt of its own.
 */
export function clipView(clip, { number, several, ownPrompt, loops, actions }) {
  const name = several ? say("clip.name", { number }) : say("clip.single");
  const played = player({ url: clip.url, name, seconds: clip.seconds, loops });
  const title = several ? h("h3", {}, ownPrompt ? clip.prompt : say("clip.title", { number })) : null;
  const action = (label, run) =>
    h(
      "button",
      {
        type: "button",
        class: "quiet",
        "aria-label": several ? say("clip.action", { label, name }) : null,
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
        `${duration(clip.seconds)} · ${say("clip.seed")} `,
        h("span", { class: "seed" }, String(clip.seed)),
      ),
    ),
    played.element,
    downloads(clip, name),
    h(
      "div",
      { class: "actions" },
      action(say("clip.use-seed"), () => actions.useSeed(clip.seed)),
      action(say("clip.more"), () => actions.moreLike()),
      action(say("clip.continue"), (button) => actions.carryOn(clip, button)),
    ),
  );
  return { element, player: played, destroy: played.destroy };
}
