/** Small helpers around the DOM. Text is always set as text, never as HTML. */

export const $ = (id) => document.getElementById(id);

/**
 * An element: `h("button", {class: "quiet", onclick: f, "aria-pressed": "true"}, "Text", child)`.
 * Null and false leave a property or child out.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name === "class" ? "class" : name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== false));
  return element;
}

/** A symbol of the sprite in index.html; decoration only. */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** Tells screen readers, politely. The same text twice in a row is told once. */
export function announce(text) {
  const region = $("announcer");
  if (region.textContent !== text) region.textContent = text;
}

/** Changes the text only if it differs: a live region would be read again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
