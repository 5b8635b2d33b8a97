/** The keys of a slider, as screen readers expect them. */

/** Returns how far `key` moves a slider of seconds, or undefined for a key that moves none. */
export function moveOf(key, step, leap) {
  return {
    ArrowRight: step,
    ArrowUp: step,
    ArrowLeft: -step,
    ArrowDown: -step,
    PageUp: leap,
    PageDown: -leap,
    Home: -Infinity,
    End: Infinity,
  }[key];
}
