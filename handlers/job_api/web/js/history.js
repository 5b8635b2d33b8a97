/** The list of past jobs, newest first, a page at a time: searched, kept, named and deleted. */

import * as api from "./api.js";
import { askText, confirmAction } from "./dialog.js";
import { $, announce, setText } from "./dom.js";
import { addressOf, historyRow, nameOf } from "./history_row.js";
import { chosenFilter, clearFilter, isFiltered, showSelection, startTools } from "./history_tools.js";
import { say, sayCount } from "./language.js";
import { FINAL, shortTitle, titleOf } from "./words.js";

export { addressOf };

const PAGE = 10;
/** As many as one answer of the server holds. */
const PAGE_MAX = 100;
const POLL_MS = 5000;
const ZIP_MAX = 100;
const NAME_MAX = 80;
const known = new Map();
const selected = new Set();
let cursor = null;
let timer = 0;
let opened = null;
let round = 0;
let showError = () => {};
let hideError = () => {};

const actions = { select, favour, rename, remove: (status) => removeJobs([status]) };

function sorted() {
  return [...known.values()].sort(
    (one, other) => Date.parse(other.created_at) - Date.parse(one.created_at),
  );
}

function render() {
  const all = sorted();
  for (const id of selected) if (!known.has(id)) selected.delete(id);
  const focused = document.activeElement?.dataset?.focus;
  $("history-list").replaceChildren(
    ...all.map((status) =>
      historyRow(status, {
        opened: status.job_id === opened,
        selected: selected.has(status.job_id),
        actions,
      }),
    ),
  );
  if (focused) focus(focused);
  const words = isFiltered() ? "history.nothing_found" : "history.nothing_yet";
  setText($("history-empty"), say(words));
  $("history-empty").hidden = all.length > 0;
  $("history-more").hidden = cursor === null;
  showSelection(selected.size, all.length);
  schedule();
}

const controlOf = (name) =>
  $("history-list").querySelector(`[data-focus="${CSS.escape(name)}"]`);

function focus(name) {
  controlOf(name)?.focus();
}

/** A person who has signed out may not ask for the list. */
const isSeen = () => !document.hidden && !$("studio").hidden;

/** Reads the list again while another job than the one on display is unfinished. */
function schedule() {
  clearTimeout(timer);
  const open = [...known.values()].some((job) => !FINAL.has(job.status) && job.job_id !== opened);
  if (open)
    timer = setTimeout(() => (isSeen() ? refresh().catch(schedule) : schedule()), POLL_MS);
}

/** Reads the list again, or its first jobs if it is long. Rejects as the API does. */
export async function refresh() {
  const mine = (round += 1);
  const limit = Math.min(PAGE_MAX, Math.max(PAGE, known.size));
  const page = await api.jobs({ limit, ...chosenFilter() });
  // The person has typed on, or deleted something that this answer still has.
  if (mine !== round) return;
  if (known.size <= limit) {
    known.clear();
    cursor = page.next;
  }
  for (const job of page.jobs) known.set(job.job_id, job);
  render();
}

/** Does what the person asks for, and offers it again after an error that may pass. */
async function attempt(work) {
  hideError();
  try {
    await work();
  } catch (error) {
    render();
    showError(error, () => attempt(work));
  }
}

function filter() {
  known.clear();
  return attempt(async () => {
    await refresh();
    announce(known.size ? say("history.found", { count: known.size }) : say("history.nothing_found"));
  });
}

/** Takes a newer status of a job into the list. */
export function noteStatus(status) {
  const before = known.get(status.job_id);
  if (!before && isFiltered()) return;
  known.set(status.job_id, status);
  if (before?.status !== status.status || before?.name !== status.name) render();
}

export function markOpened(id) {
  opened = id;
  render();
}

export function forgetHistory() {
  round += 1;
  known.clear();
  selected.clear();
  cursor = null;
  clearFilter();
  render();
}

// What a person does with jobs

function select(status, isOn) {
  if (isOn) selected.add(status.job_id);
  else selected.delete(status.job_id);
  showSelection(selected.size, known.size);
}

function selectAll(isOn) {
  selected.clear();
  if (isOn) for (const id of known.keys()) selected.add(id);
  render();
}

async function change(status, changes) {
  const changed = await api.change(status.job_id, changes).catch((error) => {
    // Another tab has deleted it.
    if (error.status === 404) known.delete(status.job_id);
    throw error;
  });
  round += 1;
  known.set(changed.job_id, changed);
  render();
  return changed;
}

function favour(status) {
  return attempt(() => change(status, { favourite: !status.favourite }));
}

async function rename(status) {
  const name = await askText(say("history.rename"), say("history.name"), {
    value: nameOf(status).slice(0, NAME_MAX),
    hint: say("history.rename_hint"),
    maxLength: NAME_MAX,
  });
  if (name === null) return;
  await attempt(async () => {
    const changed = await change(status, { name: name === titleOf(status.request) ? "" : name });
    if (opened === status.job_id) setText($("job-title"), nameOf(changed));
    focus(`${status.job_id} rename`);
    announce(say("history.renamed", { title: shortTitle(nameOf(changed)) }));
  });
}

async function removeJobs(chosen) {
  const one = chosen.length === 1 ? { title: shortTitle(nameOf(chosen[0])) } : null;
  const many = { count: chosen.length };
  const question = one ? say("history.delete_one", one) : say("history.delete_many", many);
  const note = chosen.every((job) => FINAL.has(job.status)) ? "" : say("history.unfinished");
  if (!(await confirmAction(question, note, say("history.delete")))) return;
  const order = sorted().map((job) => job.job_id);
  const place = order.indexOf(chosen[0].job_id);
  await attempt(async () => {
    for (const { job_id } of chosen) {
      await api.remove(job_id);
      round += 1;
      known.delete(job_id);
      // Of many, each goes as soon as it is gone: the last may take half a minute.
      controlOf(`${job_id} open`)?.closest("li").remove();
      if (job_id === opened) location.hash = "";
    }
    announce(one ? say("history.deleted_one", one) : say("history.deleted_many", many));
    render();
    focusNear(order, place);
    if (known.size < PAGE) await refresh();
  });
}

/** Puts the focus on the job after a deleted one, else before it, else on the search. */
function focusNear(order, place) {
  const next = [...order.slice(place), ...order.slice(0, place).reverse()];
  const id = next.find((each) => known.has(each));
  if (id) focus(`${id} open`);
  else $("history-search").focus();
}

function downloadZip() {
  const ids = sorted()
    .filter((job) => selected.has(job.job_id) && job.status === "completed")
    .map((job) => job.job_id);
  if (!ids.length) return showError(new api.ApiError(say("history.zip_none"), { status: 409 }));
  if (ids.length > ZIP_MAX)
    return showError(
      new api.ApiError(say("history.zip_too_many", { count: ZIP_MAX }), { status: 422 }),
    );
  const link = document.createElement("a");
  link.href = api.zipAddress(ids);
  link.download = "";
  link.click();
}

async function showEarlier() {
  const mine = round;
  const page = await api.jobs({ limit: PAGE, before: cursor, ...chosenFilter() });
  if (mine !== round) return;
  cursor = page.next;
  const firstNew = page.jobs[0]?.job_id;
  for (const job of page.jobs) known.set(job.job_id, job);
  render();
  announce(sayCount("history.earlier", page.jobs.length));
  if (firstNew) focus(`${firstNew} open`);
}

/** `onError(error, again)` is called after an error, `onStart()` before each thing done. */
export function startHistory(onError, onStart) {
  showError = onError;
  hideError = onStart;
  startTools({
    onFilter: filter,
    onSelectAll: selectAll,
    onZip: downloadZip,
    onDelete: () => removeJobs(sorted().filter((job) => selected.has(job.job_id))),
  });
  $("history-more").addEventListener("click", () => attempt(showEarlier));
}
