/** Keys of the page, with a list of them. Single letters can be turned off there. */

import { switchTo, togglePlaying } from "./compare.js";
import { $, h } from "./dom.js";
import { say } from "./language.js";

const KEPT = "musicgen-shortcuts";
/** Where letters are for writing, or for another control. */
const TYPING = "input, textarea, select, [role=slider], dialog";

const click = (selector) => document.querySelector(selector)?.click();

/** Keys as the list shows them, what they do, and what they run: false if it does nothing. */
const SHORTCUTS = [
  { shown: "?", text: say("shortcuts.list"), keys: ["?"], run: showList },
  { shown: say("shortcuts.ctrl-enter"), text: say("shortcuts.make") },
  { shown: "P", text: say("shortcuts.prompt"), keys: ["p"], run: () => $("f-prompt").focus() },
  { shown: "K", text: say("shortcuts.play"), keys: ["k"], run: togglePlaying },
  {
    shown: "1 – 8",
    text: say("shortcuts.switch"),
    keys: ["1", "2", "3", "4", "5", "6", "7", "8"],
    run: (key) => switchTo(Number(key) - 1),
  },
  { shown: "D", text: say("shortcuts.download"), keys: ["d"], run: () => click("a.file.original") },
  { shown: "H", text: say("shortcuts.history"), keys: ["h"], run: focusHistory },
];

function focusHistory() {
  document.querySelector("#history-list a")?.focus();
}

function showList() {
  $("shortcuts").showModal();
}

function areOn() {
  try {
    return localStorage.getItem(KEPT) !== "off";
  } catch {
    return true;
  }
}

function keep(isOn) {
  try {
    localStorage.setItem(KEPT, isOn ? "on" : "off");
  } catch {
    // Without storage the choice lasts as long as the page.
  }
}

function handle(event) {
  if ($("studio").hidden || event.defaultPrevented) return;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    $("request").requestSubmit();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || !$("shortcuts-on").checked) return;
  if (event.target.closest?.(TYPING)) return;
  const shortcut = SHORTCUTS.find(({ keys }) => keys?.includes(event.key.toLowerCase()));
  if (!shortcut) return;
  event.preventDefault();
  shortcut.run(event.key);
}

export function startShortcuts() {
  $("shortcuts-list").replaceChildren(
    ...SHORTCUTS.flatMap(({ shown, text }) => [
      h("dt", {}, h("kbd", {}, shown)),
      h("dd", {}, text),
    ]),
  );
  $("shortcuts-on").checked = areOn();
  $("shortcuts-on").addEventListener("change", (event) => keep(event.target.checked));
  $("shortcuts-open").addEventListener("click", showList);
  document.addEventListener("keydown", handle);
}
