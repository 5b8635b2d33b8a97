// A plain script in the head, so that the first paint has the remembered theme.
(() => {
  const KEY = "musicgen-theme";
  const root = document.documentElement;
  const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

  function remembered() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  }

  function isDark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : systemIsDark.matches;
  }

  function show() {
    const button = document.getElementById("theme");
    if (button) {
      button.setAttribute("aria-pressed", String(isDark()));
      button.querySelector("use").setAttribute("href", isDark() ? "#i-sun" : "#i-moon");
    }
    document.dispatchEvent(new Event("themechange"));
  }

  const before = remembered();
  if (before === "dark" || before === "light") root.dataset.theme = before;
  systemIsDark.addEventListener("change", show);

  document.addEventListener("DOMContentLoaded", () => {
    show();
    document.getElementById("theme").addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      try {
        localStorage.setItem(KEY, root.dataset.theme);
      } catch {
        // Private windows may have no storage; the choice then lasts as long as the page.
      }
      show();
    });
  });
})();
