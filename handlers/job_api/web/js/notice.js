/** An error with a button to try again, enabled after the wait requested by the server. */

import { h } from "./dom.js";
import { tell } from "./errors.js";
import { say } from "./language.js";
import { duration } from "./words.js";

const PAUSE_SECONDS = 5;

/**
 * Shows `error` in `place`. A button calls `again`, if given. With `byItself`, `again` is called
 * after a pause without the button too.
 */
export function showNotice(place, error, again = null, byItself = false) {
  clearTimeout(place.timer);
  const isOffered = again !== null && error.isWorthRepeating !== false;
  const wait = error.retryAfter ?? (isOffered && byItself ? PAUSE_SECONDS : null);
  const when = wait && !byItself ? ` ${say("notice.wait", { wait: duration(wait) })}` : "";
  showText(place, `${tell(error)}${when}`);
  if (!isOffered) return;
  const go = () => {
    hideNotice(place);
    again();
  };
  const button = h("button", { type: "button", class: "quiet", onclick: go }, say("notice.again"));
  place.append(button);
  if (wait) countDown(place, button, wait, byItself ? go : null);
}

/** Shows a sentence in `place`. */
export function showText(place, text) {
  place.replaceChildren(h("p", {}, text));
  place.hidden = false;
}

function countDown(place, button, seconds, atTheEnd) {
  button.disabled = seconds > 0 && !atTheEnd;
  button.textContent = seconds > 0 ? say("notice.again-in", { seconds }) : say("notice.again");
  if (seconds > 0) {
    place.timer = setTimeout(() => countDown(place, button, seconds - 1, atTheEnd), 1000);
  } else atTheEnd?.();
}

export function hideNotice(place) {
  clearTimeout(place.timer);
  place.hidden = true;
  place.replaceChildren();
}
