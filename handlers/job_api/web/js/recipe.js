/** "Show as code": the request in the form as a program, to copy. */

import { $, announce, h, setText } from "./dom.js";
import { FieldError, collect } from "./form.js";
import { say } from "./language.js";
import { PROGRAMS } from "./programs.js";
import { soundNow } from "./sound.js";

let chosen = Object.keys(PROGRAMS)[0];
let needsKey = false;

/** Whether the programs must send a key. */
export function setNeedsKey(isNeeded) {
  needsKey = isNeeded;
  show();
}

function textNow() {
  try {
    const body = collect(soundNow());
    return PROGRAMS[chosen]({ origin: location.origin, body, needsKey });
  } catch (error) {
    if (error instanceof FieldError) return say("recipe.impossible");
    throw error;
  }
}

function show() {
  if (!$("recipe").open) return;
  for (const button of $("recipe-languages").children) {
    button.setAttribute("aria-pressed", String(button.textContent === chosen));
  }
  setText($("recipe-code"), textNow());
}

async function copy() {
  try {
    await navigator.clipboard.writeText(textNow());
  } catch {
    // Pages over plain http have no clipboard; the selection is one key away from it.
    getSelection().selectAllChildren($("recipe-code"));
    announce(say("recipe.selected"));
    return;
  }
  announce(say("recipe.copied"));
  setText($("recipe-copy"), say("recipe.copied"));
  setTimeout(() => setText($("recipe-copy"), say("recipe.copy")), 2000);
}

export function startRecipe() {
  $("recipe-languages").replaceChildren(
    ...Object.keys(PROGRAMS).map((name) =>
      h(
        "button",
        {
          type: "button",
          class: "quiet",
          onclick: () => {
            chosen = name;
            show();
          },
        },
        name,
      ),
    ),
  );
  $("recipe").addEventListener("toggle", () => {
    show();
    if ($("recipe").open) $("recipe").scrollIntoView({ block: "nearest" });
  });
  $("recipe-copy").addEventListener("click", copy);
  for (const event of ["input", "change", "optionschange"]) {
    $("request").addEventListener(event, show);
  }
}
