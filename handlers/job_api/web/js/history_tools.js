/** Search, filter and selection above the history. */

import { $, h } from "./dom.js";
import { say } from "./language.js";

const TYPING_MS = 250;
let timer = 0;

/** The words and the filter as the person has set them. */
export function chosenFilter() {
  const search = $("history-search").value.trim();
  return { search, favourite: $("history-favourites").checked || null };
}

export const isFiltered = () => Object.values(chosenFilter()).some(Boolean);

export function clearFilter() {
  $("history-search").value = "";
  $("history-favourites").checked = false;
}

/** Builds the tools. `onFilter()`, `onSelectAll(isOn)`, `onZip()` and `onDelete()` are called. */
export function startTools({ onFilter, onSelectAll, onZip, onDelete }) {
  const typed = () => {
    clearTimeout(timer);
    timer = setTimeout(onFilter, TYPING_MS);
  };
  const all = (event) => onSelectAll(event.target.checked);
  $("history-tools").replaceChildren(
    h(
      "div",
      { class: "history-filter", role: "search" },
      h("input", {
        type: "search",
        id: "history-search",
        maxlength: "200",
        "aria-label": say("history.search"),
        placeholder: say("history.search"),
        oninput: typed,
      }),
      check("history-favourites", say("history.favourites_only"), onFilter),
    ),
    h(
      "div",
      { class: "history-selection" },
      check("history-all", say("history.select_all"), all),
      h("span", { id: "history-count", class: "muted", role: "status" }),
      h(
        "div",
        { id: "history-actions", class: "actions", hidden: true },
        h("button", { type: "button", class: "quiet", onclick: onZip }, say("history.zip")),
        h("button", { type: "button", class: "danger", onclick: onDelete },
          say("history.delete_selected")),
      ),
    ),
  );
}

/** Shows the number of selected jobs among `total` jobs. */
export function showSelection(selected, total) {
  const all = $("history-all");
  all.checked = total > 0 && selected === total;
  all.indeterminate = selected > 0 && selected < total;
  all.closest(".history-selection").hidden = total === 0;
  $("history-actions").hidden = selected === 0;
  $("history-count").textContent = selected ? say("history.selected", { count: selected }) : "";
}

function check(id, label, onchange) {
  return h("label", { class: "check" }, h("input", { type: "checkbox", id, onchange }), label);
}
