/** The options of the form, built from the server's declarations of the request's fields. */

import { $, h } from "./dom.js";
import { say } from "./language.js";
import { labelOf, hintOf } from "./field_texts.js";
import { FIELDS } from "./request_fields.js";

/** Groups of options in their order, by the heading. Other groups stand in index.html. */
const GROUPS = {
  Prompts: say("group.prompts"),
  Loop: say("group.loop"),
  Finish: say("group.finish"),
  File: say("group.file"),
  Sampling: say("group.sampling"),
  Queue: say("group.queue"),
};
const ROWS = { text: 2, texts: 3 };
export const LONGEST_SECONDS = FIELDS.duration.max;

/** Whether the API takes a number for this field, and not a text. */
export function isNumber(name) {
  const { kind, choices } = FIELDS[name] ?? {};
  return kind === "integer" || kind === "number" || typeof choices?.[0] === "number";
}

/** Fills `container` with one `details` for each group, and sets limits of all other controls. */
export function buildGroups(container) {
  for (const [group, title] of Object.entries(GROUPS)) {
    const fields = Object.entries(FIELDS).filter(([, field]) => field.group === group);
    container.append(
      h(
        "details",
        {},
        h("summary", {}, h("span", {}, title), h("span", { class: "badge", hidden: true })),
        h("div", { class: "group grid" }, ...fields.map(([name, field]) => control(name, field))),
      ),
    );
  }
  for (const [name, field] of Object.entries(FIELDS)) {
    if (!(field.group in GROUPS)) setLimits($(`f-${name}`), field);
  }
}

function setLimits(input, { min, max, default: value }) {
  if (input?.type !== "number") return;
  input.min = Math.max(min, 0);
  if (max !== null) input.max = max;
  // An empty field means the default where that is a special value.
  if (value !== null && value >= input.min) input.defaultValue = value;
}

function control(name, field) {
  const id = `f-${name}`;
  const hint = h("p", { class: "hint", id: `${name}-hint` }, hintOf(name));
  const common = { id, name, "aria-describedby": hint.id };
  if (field.kind === "sections") {
    return h(
      "fieldset",
      { class: "field wide sections", id, "aria-describedby": hint.id },
      h("legend", {}, labelOf(name)),
      hint,
      h("ol", { id: "section-list" }),
      h("button", { type: "button", class: "quiet", id: "section-add" }, say("sections.add")),
    );
  }
  if (field.kind === "boolean") {
    const box = h("input", { ...common, type: "checkbox", checked: field.default });
    return h(
      "div",
      { class: "field wide" },
      h("label", { class: "check" }, box, ` ${labelOf(name)}`),
      hint,
    );
  }
  const isWide = field.kind in ROWS || field.kind === "url";
  return h(
    "div",
    { class: isWide ? "field wide" : "field" },
    h("label", { for: id }, labelOf(name)),
    input(field, common),
    hint,
  );
}

function input(field, common) {
  if (field.kind === "choice") {
    const empty = field.default === null ? [h("option", { value: "" }, say("form.default"))] : [];
    const options = field.choices.map((value) =>
      h("option", { value, selected: value === field.default }, String(value)),
    );
    return h("select", common, ...empty, ...options);
  }
  if (field.kind in ROWS) return h("textarea", { ...common, rows: ROWS[field.kind] });
  if (field.kind === "url") return h("input", { ...common, type: "url", spellcheck: "false" });
  const { min, max, kind, default: value } = field;
  // A phone's number pad has no minus sign.
  const inputmode = min < 0 ? null : kind === "integer" ? "numeric" : "decimal";
  const step = kind === "integer" ? "1" : "any";
  return h("input", { ...common, type: "number", min, max, step, value, inputmode });
}
