/** One job in the history, with its controls. */

import { h, icon } from "./dom.js";
import { say, sayCount } from "./language.js";
import { STATES, ago, shortTitle, titleOf } from "./words.js";

export const addressOf = (id) => `#job=${encodeURIComponent(id)}`;
export const nameOf = (status) => status.name ?? titleOf(status.request);

/** `actions`: select(status, isOn), favour(status), rename(status) and remove(status). */
export function historyRow(status, { opened, selected, actions }) {
  const title = shortTitle(nameOf(status));
  const id = status.job_id;
  return h(
    "li",
    { class: "past-row" },
    h("input", {
      type: "checkbox",
      checked: selected,
      "data-focus": `${id} select`,
      "aria-label": say("history.select_named", { title }),
      onchange: (event) => actions.select(status, event.target.checked),
    }),
    link(status, nameOf(status), opened),
    h(
      "div",
      { class: "past-actions" },
      button("star", say("history.favourite_named", { title }), `${id} favour`, {
        "aria-pressed": String(status.favourite),
        onclick: () => actions.favour(status),
      }),
      button("pencil", say("history.rename_named", { title }), `${id} rename`, {
        onclick: () => actions.rename(status),
      }),
      button("trash", say("history.delete_named", { title }), `${id} remove`, {
        onclick: () => actions.remove(status),
      }),
    ),
  );
}

function link(status, title, opened) {
  const clips = status.result?.clips.length ?? 1;
  const count = clips > 1 ? `${sayCount("history.clips", clips)}, ` : "";
  return h(
    "a",
    {
      href: addressOf(status.job_id),
      class: "past",
      "data-focus": `${status.job_id} open`,
      "aria-current": opened ? "true" : null,
    },
    h("span", { class: "past-title" }, title),
    h(
      "span",
      { class: "past-line" },
      h("span", { class: "state", "data-state": status.status }, STATES[status.status]),
      h("span", { class: "muted" }, `${count}${ago(status.created_at)}`),
    ),
  );
}

function button(symbol, label, focus, properties) {
  return h(
    "button",
    {
      type: "button",
      class: `icon-button ${symbol}`,
      "aria-label": label,
      title: label,
      "data-focus": focus,
      ...properties,
    },
    icon(symbol),
  );
}
