// A plain script in the head: the modules cannot tell that one of them did not come.
window.addEventListener(
  "error",
  (event) => {
    const line = document.getElementById("loading");
    const isOfScripts = event instanceof ErrorEvent || event.target instanceof HTMLScriptElement;
    if (line && !line.hidden && isOfScripts) line.textContent = line.dataset.failed;
  },
  true,
);
