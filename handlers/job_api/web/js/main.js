/** Puts the page together: session, form, the job in the address, history. */

import * as api from "./api.js";
import { $, announce } from "./dom.js";
import { LONGEST_SECONDS, buildGroups } from "./fields.js";
import { dropDraft, restoreDraft, startDraft } from "./draft.js";
import { tell } from "./errors.js";
import { refreshEstimate, startEstimate } from "./estimate.js";
import { FieldError, clearErrors, collect, fill, showCounts, showFieldError } from "./form.js";
import {
  addressOf,
  forgetHistory,
  markOpened,
  noteStatus,
  refresh,
  startHistory,
} from "./history.js";
import { showJob } from "./job.js";
import { chooseLanguage, language, say, translatePage } from "./language.js";
import { startMicrophone } from "./microphone.js";
import { showModels, startModels } from "./models.js";
import { hideNotice, showNotice, showText } from "./notice.js";
import { startPresets } from "./presets.js";
import { setNeedsKey, startRecipe } from "./recipe.js";
import { setSections, startSections } from "./sections.js";
import { startShortcuts } from "./shortcuts.js";
import {
  forget as forgetSound,
  restoreSound,
  soundToSend,
  startSound,
  takeSound,
} from "./sound.js";
import { FINAL, fileName } from "./words.js";

let closeJob = null;
let openId = null;
let justSent = false;
let isRestored = false;
const nothingYet = $("job").firstElementChild;

// What may go wrong anywhere

function showTrouble(error, again = null) {
  if (error.status === 401) endSession();
  else showNotice($("page-notice"), error, again, true);
}

// The session

async function start() {
  hideNotice($("page-notice"));
  $("loading").hidden = !($("studio").hidden && $("sign-in").hidden);
  try {
    const session = await api.session();
    $("version").textContent = say("page.version", { version: session.version });
    const signedOut = session.auth && !session.signed_in;
    setNeedsKey(session.auth);
    $("sign-out").hidden = !session.auth || signedOut;
    $("who").hidden = !session.name || !session.auth;
    $("who").textContent = session.name ?? "";
    if (signedOut) showSignIn();
    else await enter();
  } catch (error) {
    showTrouble(error, start);
  } finally {
    $("loading").hidden = true;
  }
}

/** What other people and other tabs have changed meanwhile; the next time will do as well. */
function refreshAll() {
  refreshEstimate();
  refresh().catch(() => {});
  api.models().then(showModels).catch(() => {});
}

async function enter() {
  const [models] = await Promise.all([api.models(), refresh()]);
  showModels(models);
  $("sign-in").hidden = true;
  $("studio").hidden = false;
  if (!isRestored) restoreDraft();
  isRestored = true;
  $("request").dispatchEvent(new Event("optionschange"));
  openFromAddress();
}

function showSignIn() {
  closeJob?.();
  closeJob = openId = null;
  $("studio").hidden = true;
  $("sign-in").hidden = false;
  $("sign-out").hidden = $("who").hidden = true;
  hideNotice($("page-notice"));
  $("key").focus();
}

/** The session has ended in the middle of something. */
function endSession() {
  showSignIn();
  showText($("sign-in-notice"), say("sign-in.ended"));
}

async function signIn(event) {
  event.preventDefault();
  hideNotice($("sign-in-notice"));
  $("key").removeAttribute("aria-invalid");
  try {
    await api.signIn($("key").value.trim());
    $("key").value = "";
    await start();
    if (!$("studio").hidden) $("f-prompt").focus();
  } catch (error) {
    showNotice($("sign-in-notice"), error);
    if (error.status === 401) $("key").setAttribute("aria-invalid", "true");
    $("key").focus();
  }
}

async function signOut() {
  try {
    await api.signOut();
    history.replaceState(null, "", location.pathname);
    forgetHistory();
    forgetSound();
    $("request").reset();
    setSections(null);
    dropDraft();
    showSignIn();
    announce(say("page.signed-out"));
  } catch (error) {
    showTrouble(error);
  }
}

// The form

let sending = false;

/** `body` null: what the form says now. */
async function submit(body, key) {
  if (sending) return;
  sending = true;
  hideNotice($("form-notice"));
  clearErrors();
  $("submit").setAttribute("aria-disabled", "true");
  $("submit").textContent = say("form.sending");
  try {
    body ??= collect(await soundToSend());
    const { job_id } = await api.generate(body, key);
    justSent = true;
    location.hash = addressOf(job_id);
    refreshEstimate();
    refresh().catch(() => {});
  } catch (error) {
    refused(error, body, key);
  } finally {
    sending = false;
    $("submit").removeAttribute("aria-disabled");
    $("submit").textContent = say("form.submit");
  }
}

function refused(error, body, key) {
  if (error.status === 401) return endSession();
  const text = error instanceof FieldError ? error.message : tell(error);
  if (error.field && showFieldError(error.field, text)) return;
  // The same key again: if the first call did arrive, no second job is made.
  showNotice($("form-notice"), error, () => submit(body, key));
}

function followSlider() {
  const [field, slider] = [$("f-duration"), $("length-slider")];
  // Short lengths are chosen more finely than long ones.
  const toSeconds = (part) => Math.max(1, Math.round(LONGEST_SECONDS * (part / 100) ** 2));
  const toPart = (seconds) => 100 * Math.sqrt(Math.min(1, Math.max(0, seconds / LONGEST_SECONDS)));
  const follow = () => {
    slider.value = toPart(Number(field.value));
  };
  slider.addEventListener("input", () => {
    field.value = toSeconds(Number(slider.value));
  });
  field.addEventListener("input", follow);
  $("request").addEventListener("optionschange", follow);
  follow();
}

function startForm() {
  buildGroups($("option-groups"));
  startSections();
  startModels();
  startSound();
  followSlider();
  $("request").addEventListener("submit", (event) => {
    event.preventDefault();
    submit(null, api.freshKey());
  });
  $("request").addEventListener("input", showCounts);
  $("request").addEventListener("optionschange", showCounts);
  startMicrophone();
  startPresets();
  startRecipe();
  startEstimate();
  startDraft();
}

// What can be done with a job

function refill(request) {
  forgetSound();
  fill(request);
  $("f-prompt").focus();
  // The sound of the job may have expired; the server says so at its control.
  const input = request.input_audio;
  if (input) restoreSound({ input, name: say("sound.same") });
  announce(say("form.filled"));
}

const actions = {
  useSeed(seed) {
    $("f-seed").value = seed;
    $("f-seed").focus();
    announce(say("form.seed", { seed: String(seed) }));
  },
  fillFrom: refill,
  moreLike: (request) => refill({ ...request, seed: null }),
  async carryOn(request, clip, button) {
    hideNotice($("page-notice"));
    button.disabled = true;
    try {
      const response = await fetch(clip.url);
      if (!response.ok) throw api.errorOf(response.status, await response.text(), null);
      const sound = await response.blob();
      const { model_version } = request;
      fill({
        prompt: clip.prompt,
        model_version,
        continuation: true,
        duration: Math.min(LONGEST_SECONDS, Math.ceil(clip.seconds * 2)),
      });
      const name = fileName(clip.prompt || "music", clip.seed, clip.url.split(".").pop());
      $("f-prompt").focus();
      await takeSound(sound, name);
    } catch (error) {
      if (!error.field)
        showTrouble(
          error instanceof api.ApiError ? error : new api.ApiError(say("clip.not-fetched")),
        );
    } finally {
      button.disabled = false;
    }
  },
};

// The job in the address

function openFromAddress() {
  const id = new URLSearchParams(location.hash.slice(1)).get("job");
  if (id === openId) return;
  closeJob?.();
  closeJob = null;
  openId = id;
  if (!id) {
    $("job").replaceChildren(nothingYet);
    markOpened(null);
    return;
  }
  closeJob = showJob(id, {
    actions,
    onStatus(status) {
      noteStatus(status);
      if (FINAL.has(status.status)) refreshAll();
    },
    onTrouble: (error) => error?.status === 401 && endSession(),
  });
  markOpened(id);
  $("job-title").focus({ preventScroll: !justSent && document.readyState !== "complete" });
  if (justSent) $("job").scrollIntoView({ block: "nearest" });
  justSent = false;
}

translatePage();
startForm();
startShortcuts();
startHistory(showTrouble, () => hideNotice($("page-notice")));
$("skip").addEventListener("click", (event) => {
  // The address names the job: a jump must not take its place.
  event.preventDefault();
  $("results").focus();
});
$("sign-in-form").addEventListener("submit", signIn);
$("sign-out").addEventListener("click", signOut);
$("language").value = language();
$("language").addEventListener("change", (event) => chooseLanguage(event.target.value));
window.addEventListener("hashchange", openFromAddress);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !$("studio").hidden) refreshAll();
});
await start();
