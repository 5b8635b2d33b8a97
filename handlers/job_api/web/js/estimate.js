/** Time and price of the request in the form, before it is sent. */

import * as api from "./api.js";
import { $, setText } from "./dom.js";
import { FieldError, collect } from "./form.js";
import { number, say } from "./language.js";
import { FIELDS } from "./request_fields.js";
import { duration } from "./words.js";

const PAUSE_MS = 500;
/** The server counts its queue once a second. */
const QUEUE_MS = 1500;
/** The queue changes while the form is filled in. */
const AGAIN_MS = 30000;
let timer = 0;
let asked = 0;

/** Fields of a request that take a time of their own. */
const KINDS = ["model_version", "decoder", "stems", "midi"];

/** What the estimate depends on; null where the form cannot be sent as it is. */
function sizeOf() {
  let body;
  try {
    body = collect(null);
  } catch (error) {
    if (error instanceof FieldError) return null;
    throw error;
  }
  const total = body.sections?.reduce((sum, section) => sum + section.duration, 0);
  const seconds = total ?? body.duration ?? FIELDS.duration.default;
  const clips = (body.variations ?? 1) * (body.prompts?.length ?? 1);
  const isInside = seconds >= FIELDS.duration.min && seconds <= FIELDS.duration.max;
  if (!isInside || clips < 1 || clips > FIELDS.variations.max) return null;
  const kind = KINDS.filter((name) => body[name]).map((name) => [name, body[name]]);
  return { duration: seconds, variations: clips, ...Object.fromEntries(kind) };
}

function priceOf({ amount, currency }) {
  // Two digits of a price below a cent are enough, and would be none without this.
  const small = amount > 0 && amount < 0.01 ? { maximumSignificantDigits: 2 } : {};
  return number(amount, { style: "currency", currency, ...small });
}

const about = (seconds) => duration(Math.max(1, Math.ceil(seconds)));

function timeOf(wait, work, isMeasured) {
  if (!isMeasured) {
    const start = wait >= 1 ? `${say("estimate.begins", { wait: about(wait) })} ` : "";
    return start + say("estimate.unknown");
  }
  return wait >= 1
    ? say("estimate.waits", { wait: about(wait), all: about(wait + work) })
    : say("estimate.starts", { work: about(work) });
}

function textOf({ wait_seconds: wait, work_seconds: work, is_measured: isMeasured, price }) {
  const cost = price === null ? "" : ` ${say("estimate.price", { price: priceOf(price) })}`;
  if (wait === null) return say("estimate.no-worker") + cost;
  return timeOf(wait, work, isMeasured) + cost;
}

async function update() {
  schedule(AGAIN_MS);
  if ($("studio").hidden || document.hidden) return;
  const size = sizeOf();
  asked += 1;
  const mine = asked;
  let text = "";
  try {
    if (size) text = textOf(await api.estimate(size));
  } catch {
    // The form works without an estimate, and `submit` tells what is wrong.
  }
  if (mine === asked) setText($("estimate"), text);
}

function schedule(pause) {
  clearTimeout(timer);
  timer = setTimeout(update, pause);
}

/** For a queue with a job more or less. */
export function refreshEstimate() {
  schedule(QUEUE_MS);
}

export function startEstimate() {
  for (const event of ["input", "optionschange"]) {
    $("request").addEventListener(event, () => schedule(PAUSE_MS));
  }
  document.addEventListener("visibilitychange", () => schedule(PAUSE_MS));
  schedule(0);
}
