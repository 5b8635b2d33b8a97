/** An error with a button to try again, enabled after the wait requested by the server. */

import { h } from "./dom.js";
import { duration, sentence } from "./words.js";

const PAUSE_SECONDS = 5;

/**
 * Shows `error` in `place`. A button calls `again`, if given. With `byItself`, `again` is called
 * after a pause without the button too.
 */
export function showNotice(place, error, again = null, byItself = false) {
  clearTimeout(place.timer);
  const isOffered = again !== null && error.isWorthRepeating !== false;
  const wait = error.retryAfter ?? (isOffered && byItself ? PAUSE_SECONDS : null);
  const when = wait && !byItself ? ` You can try again in ${duration(wait)}.` : "";
  place.replaceChildren(h("p", {}, `${sentence(error.message)}${when}`));
  place.hidden = false;
  if (!isOffered) return;
  const go = () => {
    hideNotice(place);
    again();
  };
  const button = h("button", { type: "button", class: "quiet", onclick: go }, "Try again");
  place.append(button);
  if (wait) countDown(place, button, wait, byItself ? go : null);
}

function countDown(place, button, seconds, atTheEnd) {
  button.disabled = seconds > 0 && !atTheEnd;
  button.textContent = seconds > 0 ? `Try again (${seconds})` : "Try again";
  if (seconds > 0) {
    place.timer = setTimeout(() => countDown(place, button, seconds - 1, atTheEnd), 1000);
  } else atTheEnd?.();
}

export function hideNotice(place) {
  clearTimeout(place.timer);
  place.hidden = true;
  place.replaceChildren();
}
