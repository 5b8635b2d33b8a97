/** The list of past jobs, newest first, a page at a time. */

import * as api from "./api.js";
import { $, announce, h } from "./dom.js";
import { FINAL, STATES, ago, titleOf } from "./words.js";

const PAGE = 10;
const POLL_MS = 5000;
const known = new Map();
let cursor = null;
let timer = 0;
let opened = null;

export const addressOf = (id) => `#job=${encodeURIComponent(id)}`;

function item(status) {
  const clips = status.result?.clips.length ?? 1;
  const count = clips > 1 ? `${clips} clips, ` : "";
  return h(
    "li",
    {},
    h(
      "a",
      {
        href: addressOf(status.job_id),
        class: "past",
        "aria-current": status.job_id === opened ? "true" : null,
      },
      h("span", { class: "past-title" }, titleOf(status.request)),
      h(
        "span",
        { class: "past-line" },
        h("span", { class: "state", "data-state": status.status }, STATES[status.status]),
        h("span", { class: "muted" }, `${count}${ago(status.created_at)}`),
      ),
    ),
  );
}

function render() {
  const all = [...known.values()].sort(
    (one, other) => Date.parse(other.created_at) - Date.parse(one.created_at),
  );
  const focused = document.activeElement?.closest?.("a.past")?.getAttribute("href");
  $("history-list").replaceChildren(...all.map(item));
  if (focused)
    $("history-list")
      .querySelector(`a[href="${CSS.escape(focused)}"]`)
      ?.focus();
  $("history-empty").hidden = all.length > 0;
  $("history-more").hidden = cursor === null;
  schedule();
}

/** Reads the list again while another job than the one on display is unfinished. */
function schedule() {
  clearTimeout(timer);
  const open = [...known.values()].some((job) => !FINAL.has(job.status) && job.job_id !== opened);
  if (open)
    timer = setTimeout(() => (document.hidden ? schedule() : refresh().catch(schedule)), POLL_MS);
}

/** Reads the first page again. Rejects as the API does. */
export async function refresh() {
  const page = await api.jobs({ limit: PAGE });
  if (known.size <= PAGE) {
    known.clear();
    cursor = page.next;
  }
  for (const job of page.jobs) known.set(job.job_id, job);
  render();
}

/** Takes a newer status of a job into the list. */
export function noteStatus(status) {
  const before = known.get(status.job_id);
  known.set(status.job_id, status);
  if (before?.status !== status.status) render();
}

export function markOpened(id) {
  opened = id;
  render();
}

export function forgetHistory() {
  known.clear();
  cursor = null;
  render();
}

export function startHistory(onError) {
  $("history-more").addEventListener("click", async () => {
    try {
      const page = await api.jobs({ limit: PAGE, before: cursor });
      cursor = page.next;
      const firstNew = page.jobs[0]?.job_id;
      for (const job of page.jobs) known.set(job.job_id, job);
      render();
      announce(`${page.jobs.length} earlier jobs`);
      if (firstNew)
        $("history-list")
          .querySelector(`a[href="${addressOf(firstNew)}"]`)
          ?.focus();
    } catch (error) {
      onError(error);
    }
  });
}
