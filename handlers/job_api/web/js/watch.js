/** Follows a job by server-sent events, or by polling if no events arrive. */

import * as api from "./api.js";
import { FINAL } from "./words.js";

const POLL_MS = 2000;
const POLL_LONGEST_MS = 10000;
/** Some proxies open the connection, but hold the events back. */
const SILENCE_MS = 8000;
const FAILURES_MOST = 3;

/**
 * `onStatus` gets each new status, `onTrouble` an `ApiError` when the connection is lost and null
 * when it is back. Returns a function to stop; it stops by itself after the final status.
 */
export function watch(id, onStatus, onTrouble) {
  const stopped = new AbortController();
  const { signal } = stopped;
  let source = null;
  let timer = 0;
  let failures = 0;
  let heardAt = 0;

  function stop() {
    stopped.abort();
    source?.close();
    clearTimeout(timer);
  }

  function take(status) {
    if (signal.aborted) return;
    failures = 0;
    onTrouble(null);
    if (FINAL.has(status.status)) stop();
    onStatus(status);
  }

  function listen() {
    heardAt = Date.now();
    source = new EventSource(api.eventsAddress(id));
    timer = setTimeout(poll, SILENCE_MS);
    source.addEventListener("status", (event) => {
      clearTimeout(timer);
      heardAt = Date.now();
      take(JSON.parse(event.data));
    });
    source.addEventListener("error", () => {
      failures += 1;
      // While it is CONNECTING the browser tries again by itself.
      if (source.readyState !== EventSource.CLOSED && failures < FAILURES_MOST) return;
      clearTimeout(timer);
      failures = 0;
      poll();
    });
  }

  async function poll() {
    source?.close();
    let pause = POLL_MS;
    try {
      take(await api.status(id, signal));
    } catch (error) {
      if (signal.aborted) return;
      onTrouble(error);
      if (!error.isWorthRepeating) return stop();
      failures += 1;
      pause = Math.min(POLL_MS * 2 ** failures, POLL_LONGEST_MS);
      if (error.retryAfter) pause = error.retryAfter * 1000;
    }
    if (!signal.aborted) timer = setTimeout(poll, pause);
  }

  /** While a computer sleeps its connections end, of which the browser may know nothing. */
  function wake() {
    const isSilent = Date.now() - heardAt > SILENCE_MS;
    if (document.hidden || !isSilent || source.readyState === EventSource.CLOSED) return;
    source.close();
    clearTimeout(timer);
    listen();
  }

  document.addEventListener("visibilitychange", wake, { signal });
  window.addEventListener("online", wake, { signal });
  listen();
  return stop;
}
