/** The fields that most people leave alone, as a table, and the controls made of it. */

import { h } from "./dom.js";

const number = (name, label, value, hint, limits = {}) => ({
  name,
  label,
  value,
  hint,
  kind: "number",
  ...limits,
});
const whole = (name, label, value, hint, limits = {}) => ({
  name,
  label,
  value,
  hint,
  kind: "whole",
  ...limits,
});
const flag = (name, label, hint, value = false) => ({ name, label, value, hint, kind: "flag" });
const choice = (name, label, value, choices, hint) => ({
  name,
  label,
  value,
  hint,
  kind: "choice",
  choices,
});
const text = (name, label, hint, rows) => ({ name, label, value: "", hint, kind: "text", rows });

const SAME = (values) => values.map((value) => [value, value]);
const BITRATES = [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];

/** Names and defaults are those of the API; an empty number or choice is left out. */
export const GROUPS = [
  {
    title: "More prompts and sections",
    fields: [
      text(
        "negative_prompt",
        "Away from",
        "What the music should not be, such as: drums, distorted",
        2,
      ),
      text(
        "prompts",
        "More prompts, one a line",
        "Each makes a clip of its own beside the first",
        3,
      ),
      {
        name: "sections",
        label: "Sections",
        kind: "sections",
        hint: "One clip whose prompt changes on the way; the prompt above stands before each",
      },
    ],
  },
  {
    title: "Loop",
    fields: [
      flag("loop", "Make a loop", "Whole bars that go on into themselves; needs a tempo"),
      number("bpm", "Beats a minute", "", "30 to 300", { min: 30, max: 300 }),
      whole("beats_per_bar", "Beats in a bar", 4, "2 to 12", { min: 2, max: 12 }),
    ],
  },
  {
    title: "Finish",
    fields: [
      number("fade_in", "Fade in, seconds", 0, "0 to 30", { min: 0, max: 30 }),
      number("fade_out", "Fade out, seconds", 0, "0 to 30", { min: 0, max: 30 }),
      choice("normalization_strategy", "Level by", "loudness", [
        ["loudness", "Loudness"],
        ["peak", "Peak"],
        ["rms", "RMS"],
        ["clip", "Clipping"],
        ["none", "Nothing"],
      ]),
      number("target_loudness", "Loudness, LUFS", -14, "-40 to -5", { min: -40, max: -5 }),
      flag("trim_silence", "Cut silence off both ends"),
      flag("steady_level", "Keep the level of long music steady", "", true),
    ],
  },
  {
    title: "File",
    fields: [
      choice("output_format", "Format", "wav", SAME(["wav", "flac", "mp3", "ogg", "opus"])),
      choice("bit_depth", "Bit depth", "16", SAME(["16", "24", "float"]), "For wav and flac"),
      choice("sample_rate", "Sample rate, Hz", "", [
        ["", "the model's"],
        ...SAME([32000, 44100, 48000]),
      ]),
      choice(
        "bitrate",
        "Bitrate, kbit/s",
        "",
        [["", "the format's"], ...SAME(BITRATES)],
        "For mp3 and opus",
      ),
      flag(
        "save_tokens",
        "Keep what it was made of in the file",
        "To be continued exactly from there; wav and flac",
      ),
    ],
  },
  {
    title: "How freely it plays",
    fields: [
      number("temperature", "Temperature", 1, "0 always takes the likeliest", { min: 0 }),
      number(
        "classifier_free_guidance",
        "Guidance",
        3,
        "How closely the prompt is followed; 1 is off",
        { min: 1 },
      ),
      whole("top_k", "Top k", 250, "0 to 2048", { min: 0, max: 2048 }),
      number("top_p", "Top p", 0, "0 to 1; above 0 it wins over top k", { min: 0, max: 1 }),
      number(
        "extend_stride",
        "Stride, seconds",
        18,
        "How much of each 30 s of long music is new; 1 to 29",
        { min: 1, max: 29, wide: true },
      ),
    ],
  },
  {
    title: "Queue",
    fields: [
      whole("priority", "Priority", 0, "-10 to 10; higher is sooner", { min: -10, max: 10 }),
      { ...text("webhook_url", "Webhook", "An address that is told when it is ready"), wide: true },
    ],
  },
];

/** Numbers of the API that a choice holds as text. */
const NUMBERS = new Set([
  "sample_rate",
  "bitrate",
  "seed",
  "variations",
  "duration",
  "continuation_start",
  "continuation_end",
]);
for (const { fields } of GROUPS) {
  for (const { name, kind } of fields) if (kind === "number" || kind === "whole") NUMBERS.add(name);
}
export const isNumber = (name) => NUMBERS.has(name);

/** Fills `container` with one `details` for each group. */
export function buildGroups(container) {
  container.append(
    ...GROUPS.map(({ title, fields }) =>
      h(
        "details",
        {},
        h("summary", {}, h("span", {}, title), h("span", { class: "badge", hidden: true })),
        h("div", { class: "group grid" }, ...fields.map(control)),
      ),
    ),
  );
}

function control(field) {
  const id = `f-${field.name}`;
  const hint = field.hint ? h("p", { class: "hint", id: `${field.name}-hint` }, field.hint) : null;
  const common = { id, name: field.name, "aria-describedby": hint?.id };
  if (field.kind === "sections") {
    return h(
      "fieldset",
      { class: "field wide sections", id, "aria-describedby": hint.id },
      h("legend", {}, field.label),
      hint,
      h("ol", { id: "section-list" }),
      h("button", { type: "button", class: "quiet", id: "section-add" }, "Add a section"),
    );
  }
  if (field.kind === "flag") {
    const box = h("input", { ...common, type: "checkbox", checked: field.value });
    return h(
      "div",
      { class: "field wide" },
      h("label", { class: "check" }, box, ` ${field.label}`),
      hint,
    );
  }
  return h(
    "div",
    { class: field.rows || field.wide ? "field wide" : "field" },
    h("label", { for: id }, field.label),
    input(field, common),
    hint,
  );
}

function input(field, common) {
  if (field.kind === "choice") {
    const options = field.choices.map(([value, label]) =>
      h("option", { value, selected: value === field.value }, String(label)),
    );
    return h("select", common, ...options);
  }
  if (field.rows) return h("textarea", { ...common, rows: field.rows });
  if (field.kind === "text") return h("input", { ...common, type: "url", spellcheck: "false" });
  const { min, max, kind, value } = field;
  // A phone's number pad has no minus sign.
  const inputmode = min < 0 ? null : kind === "whole" ? "numeric" : "decimal";
  const step = kind === "whole" ? "1" : "any";
  return h("input", { ...common, type: "number", min, max, step, value, inputmode });
}
