/** Modal questions. The browser keeps the focus inside and gives it back at the end. */

import { h } from "./dom.js";
import { say } from "./language.js";

let count = 0;

/** Asks for a confirmation; resolves to true or false. */
export async function confirmAction(title, text, action) {
  const note = text && h("p", { class: "muted" }, text);
  return (await ask(title, [note], action, "danger")) !== null;
}

/** Asks for a line of text; resolves to the text, or to null if the person cancels. */
export async function askText(title, label, { value, hint, maxLength }) {
  const field = h("input", { type: "text", id: "dialog-text", maxlength: String(maxLength) });
  field.setAttribute("aria-describedby", "dialog-hint");
  field.value = value;
  const parts = [
    h("div", { class: "field" }, h("label", { for: "dialog-text" }, label), field),
    h("p", { class: "hint", id: "dialog-hint" }, hint),
  ];
  const done = ask(title, parts, say("dialog.save"), "primary");
  field.select();
  return (await done) === null ? null : field.value;
}

function ask(title, parts, action, kind) {
  const id = `dialog-title-${(count += 1)}`;
  const dialog = h(
    "dialog",
    { class: "dialog", "aria-labelledby": id },
    h(
      "form",
      { method: "dialog" },
      h("h2", { id }, title),
      parts,
      h(
        "div",
        { class: "actions" },
        h("button", { type: "button", class: "quiet", onclick: () => dialog.close("") },
          say("dialog.cancel")),
        h("button", { class: kind, value: "yes" }, action),
      ),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes" ? dialog.returnValue : null);
    });
  });
}
