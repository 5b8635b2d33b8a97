/** The job on display: waiting, being made, or finished. */

import * as api from "./api.js";
import { clipView } from "./clip.js";
import { $, announce, h, setText } from "./dom.js";
import { compareView, showPlayers } from "./compare.js";
import { tell } from "./errors.js";
import { say } from "./language.js";
import { liveView } from "./live.js";
import { watch } from "./watch.js";
import { tellNotes } from "./notes.js";
import {
  FINAL,
  STATES,
  duration,
  isNotCommercial,
  licence,
  percent,
  titleOf,
} from "./words.js";

const clipsOf = (request) => (request.variations ?? 1) * (request.prompts?.length ?? 1);

function leftOf(status) {
  return status.expected_seconds === null
    ? ""
    : say("job.left", { time: duration(Math.ceil(status.expected_seconds)) });
}

function percentOf(status) {
  return percent(Math.floor((status.progress ?? 0) * 100 + 1e-6) / 100);
}

/** The line under the progress bar. */
function lineOf(status) {
  if (status.status === "queued") {
    const place =
      status.position === 1 ? say("job.next") : say("job.place", { place: status.position });
    return [status.position ? place : say("job.queued"), leftOf(status)].filter(Boolean).join(", ");
  }
  const again = status.attempt > 1 ? say("job.attempt", { attempt: status.attempt }) : "";
  return [percentOf(status), leftOf(status), again].filter(Boolean).join(", ");
}

/** The title of the browser tab. */
function titleBar(status) {
  return status.status === "running"
    ? percentOf(status)
    : STATES[status.status];
}

/** The text for screen readers: it changes with the state, place or quarter, not each percent. */
function spokenOf(status) {
  if (status.status === "queued") return lineOf({ ...status, expected_seconds: null });
  if (status.status === "running") {
    const quarter = Math.floor((status.progress ?? 0) * 4) * 25;
    return quarter ? say("job.quarter", { quarter }) : say("job.running");
  }
  return {
    completed: say("job.completed"),
    failed: say("job.failed"),
    cancelled: say("job.cancelled"),
  }[status.status];
}

/**
 * Shows the job `id` in the panel. `actions`: those of `clipView`, with the job's request first,
 * and `fillFrom(request)`. `onStatus(status)` and `onTrouble(error)` are called on changes. Returns
 * a function to remove the job from the panel.
 */
export function showJob(id, { actions, onStatus, onTrouble }) {
  const view = new JobView(id, actions);
  let first = true;
  const stop = watch(
    id,
    (status) => {
      view.update(status, first);
      first = false;
      onStatus(status);
    },
    (error) => {
      view.trouble(error);
      onTrouble(error);
    },
  );
  return () => {
    stop();
    view.destroy();
  };
}

class JobView {
  constructor(id, actions) {
    this.id = id;
    this.actions = actions;
    this.clips = [];
    this.shown = null;
    this.title = h("h2", { id: "job-title", tabindex: "-1" }, say("job.title"));
    this.state = h("span", { class: "state", "data-state": "queued" }, "…");
    this.bar = h("progress", { max: "1", "aria-label": say("job.progress") });
    this.line = h("p", { class: "progress-line" }, say("job.asking"));
    this.stop = h(
      "button",
      { type: "button", class: "danger", hidden: true, onclick: () => this.cancel() },
      say("job.cancel"),
    );
    this.notice = h("p", { class: "notice", role: "alert", hidden: true });
    this.live = liveView();
    this.going = h(
      "div",
      { class: "going" },
      this.bar,
      h("div", { class: "going-line" }, this.line, this.stop),
    );
    this.done = h("div", { class: "done" });
    $("job").replaceChildren(
      h("div", { class: "job-head" }, this.title, this.state),
      this.notice,
      this.going,
      this.live.element,
      this.done,
    );
  }

  /** `first`: the job was opened just now, so its end need not be announced. */
  update(status, first) {
    setText(this.title, status.name ?? titleOf(status.request));
    setText(this.state, STATES[status.status]);
    this.state.dataset.state = status.status;
    document.title = `${titleBar(status)} · MusicGen`;
    this.live.offer(status.stream_url, clipsOf(status.request));
    if (FINAL.has(status.status)) this.finish(status);
    else this.progress(status);
    if (!first || !FINAL.has(status.status)) announce(spokenOf(status));
  }

  progress(status) {
    this.stop.hidden = false;
    if (status.status === "queued") this.bar.removeAttribute("value");
    else this.bar.value = status.progress ?? 0;
    setText(this.line, lineOf(status));
  }

  finish(status) {
    if (this.shown === status.status) return;
    this.shown = status.status;
    const hadFocus = this.going.contains(document.activeElement);
    this.going.remove();
    this.live.finish();
    this.notice.hidden = true;
    if (status.status === "completed") this.showClips(status);
    else this.showEnd(status);
    if (hadFocus) this.title.focus();
  }

  showClips(status) {
    const { result, request } = status;
    const actions = {
      useSeed: (seed) => this.actions.useSeed(seed),
      moreLike: () => this.actions.moreLike(request),
      carryOn: (clip, button) => this.actions.carryOn(request, clip, button),
    };
    this.clips = result.clips.map((clip, index) =>
      clipView(clip, {
        number: index + 1,
        several: result.clips.length > 1,
        ownPrompt: Boolean(request.prompts),
        loops: request.loop ?? false,
        actions,
      }),
    );
    showPlayers(this.clips.map(({ player }) => player));
    const notes = tellNotes(result).map((note) => h("li", {}, note));
    this.done.replaceChildren(
      h(
        "p",
        { class: isNotCommercial(result.licence) ? "licence-note restricted" : "licence-note" },
        `${say("job.made-with", { model: result.model })} `,
        h("strong", {}, licence(result.licence)),
        ".",
      ),
      compareView() ?? "",
      h(
        "ul",
        { class: "clips", "aria-label": say("job.clips") },
        this.clips.map((clip) => clip.element),
      ),
      notes.length ? h("ul", { class: "notes", "aria-label": say("job.notes") }, notes) : "",
      aboutView(status),
    );
  }

  showEnd(status) {
    const text = status.error ? tell(status.error) : say("job.was-cancelled");
    const again = () => this.actions.fillFrom(status.request);
    this.done.replaceChildren(
      h("p", { class: status.status === "failed" ? "notice" : "muted" }, text),
      h(
        "div",
        { class: "actions" },
        h("button", { type: "button", class: "quiet", onclick: again }, say("job.edit")),
      ),
    );
  }

  trouble(error) {
    this.notice.hidden = error === null;
    if (error === null) return;
    if (error.status === 404) {
      this.going.remove();
      setText(this.title, say("job.not-found"));
      setText(this.state, "");
    }
    const retry = error.isWorthRepeating ? ` ${say("job.retries")}` : "";
    setText(this.notice, `${tell(error)}${retry}`);
  }

  async cancel() {
    this.stop.disabled = true;
    // The server cuts the live sound of a job that ends otherwise than completed.
    this.live.stop();
    try {
      const status = await api.cancel(this.id);
      if (status) this.update(status, false);
    } catch (error) {
      this.trouble(error);
    }
    this.stop.disabled = false;
  }

  destroy() {
    for (const clip of this.clips) clip.destroy();
    showPlayers([]);
    this.live.finish();
    document.title = "MusicGen";
  }
}

function aboutView({ job_id, result, request, attempt }) {
  const rows = [
    [say("about.prompt"), titleOf(request)],
    [say("about.model"), result.model],
    [say("about.made-by"), result.made_by],
    [
      say("about.took"),
      result.real_time_factor
        ? say("about.time", {
            work: duration(result.real_time_factor * result.seconds),
            seconds: duration(result.seconds),
          })
        : null,
    ],
    [say("about.attempts"), attempt > 1 ? String(attempt) : null],
    [say("about.job"), job_id],
    ...result.clips.map((clip, index) => [
      result.clips.length > 1 ? say("about.hash-of", { number: index + 1 }) : say("about.hash"),
      clip.sha256,
    ]),
  ].filter(([, value]) => value);
  return h(
    "details",
    { class: "about" },
    h("summary", {}, say("about.title")),
    h("dl", {}, rows.map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]).flat()),
  );
}
