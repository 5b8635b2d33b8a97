/** The rows of "sections": a prompt and seconds each. */

import { $, announce, h } from "./dom.js";
import { say } from "./language.js";
import { duration } from "./words.js";
import { FIELDS } from "./request_fields.js";

const LENGTHS = say("form.range", FIELDS.duration);

const FIRST_SECONDS = 10;

function row(section = { prompt: "", duration: FIRST_SECONDS }) {
  const item = h(
    "li",
    { class: "section-row" },
    h("input", {
      type: "text",
      "data-part": "prompt",
      "aria-label": say("sections.prompt"),
      placeholder: say("sections.example"),
    }),
    h("input", {
      type: "number",
      "data-part": "duration",
      "aria-label": say("sections.seconds"),
      min: "0.1",
      step: "any",
      inputmode: "decimal",
    }),
    h(
      "button",
      {
        type: "button",
        class: "quiet",
        "aria-label": say("sections.remove"),
        onclick: () => remove(item),
      },
      "×",
    ),
  );
  const [prompt, seconds] = item.querySelectorAll("input");
  prompt.value = section.prompt;
  seconds.value = section.duration;
  return item;
}

function remove(item) {
  const next = item.nextElementSibling ?? item.previousElementSibling;
  item.remove();
  (next?.querySelector("input") ?? $("section-add")).focus();
  announce(say("sections.removed"));
  changed();
}

/** The list, or null where there are none. */
export function sections() {
  const rows = [...$("section-list").children].map((item) => ({
    prompt: item.querySelector("[data-part=prompt]").value,
    duration: Number(item.querySelector("[data-part=duration]").value),
  }));
  return rows.length ? rows : null;
}

export function setSections(list) {
  $("section-list").replaceChildren(...(list ?? []).map(row));
  changed();
}

/** The sections make the length, so its own field is put to rest. */
function changed() {
  const list = sections();
  $("f-duration").disabled = $("length-slider").disabled = list !== null;
  const total = list?.reduce((sum, section) => sum + section.duration, 0);
  $("duration-hint").textContent = list ? say("sections.total", { total: duration(total) }) : LENGTHS;
  $("request").dispatchEvent(new Event("optionschange"));
}

export function startSections() {
  $("duration-hint").textContent = LENGTHS;
  $("section-add").addEventListener("click", () => {
    const item = row();
    $("section-list").append(item);
    item.querySelector("input").focus();
    changed();
  });
  $("section-list").addEventListener("input", changed);
}
