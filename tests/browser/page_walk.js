/** Finds the controls and the texts of the page as a person meets them. For tests, in each document. */
globalThis.pageWalk = (() => {
  const CONTROLS =
    "a[href], button, input, select, textarea, summary, audio[controls], [role=slider], [tabindex='0']";
  const SHOWN = ["aria-label", "title", "placeholder", "alt"];
  /** Places whose controls have no id. */
  const PLACES =
    "dialog, header, footer, noscript, #sign-in, #presets, #recipe, #section-list, #region, " +
    "#form-notice, #page-notice, #history-list, #history-tools, .clip, .live, .compare, .about, " +
    "#job, #request";
  let loaded = null;
  const heard = new Set();
  let hear = null;

  const escape = (text) => text.replace(/[.*+?^$()|[\]\\{}]/g, "\\$&");
  const toPattern = (text) => {
    const parts = text.split(/(\{\w+\})/).map((each) => {
      if (/^\{(count|number)\}$/.test(each)) return "([\\d.,]+)";
      return /^\{\w+\}$/.test(each) ? "(.+)" : escape(each);
    });
    return new RegExp(`^${parts.join("")}$`, "s");
  };
  const squeeze = (text) => (text ?? "").replace(/\s+/g, " ").trim();

  /** Texts by language: `[key, text, pattern]`; the labels and hints of fields among them. */
  async function load() {
    const read = (name) => import(`/static/js/${name}.js`);
    const [en, de, serverEn, serverDe, fields, german] = await Promise.all(
      [...["en", "de", "server_en", "server_de"].map((name) => `texts/${name}`),
        "request_fields", "texts/fields_de"].map(read),
    );
    const ofFields = (table) =>
      Object.entries(table).flatMap(([name, { label, hint }]) => [
        [`field.${name}.label`, label],
        [`field.${name}.hint`, hint],
      ]);
    const list = (entries) =>
      entries.map(([key, text]) => [key, squeeze(text), toPattern(squeeze(text))]);
    return {
      en: list([...Object.entries({ ...en.default, ...serverEn.default }), ...ofFields(fields.FIELDS)]),
      de: list([...Object.entries({ ...de.default, ...serverDe.default }), ...ofFields(german.FIELDS_DE)]),
    };
  }

  const tables = () => (loaded ??= load());
  const language = () => document.documentElement.lang;

  function modal() {
    return document.querySelector("dialog:modal") ?? document;
  }

  const isVisible = (element) =>
    element.type !== "hidden" &&
    element.checkVisibility({ visibilityProperty: true }) &&
    !element.closest("[inert], .sprite");

  /** Adds the keys whose texts are the same in one of the languages. */
  function withAliases(keys, all) {
    const group = new Set(keys);
    // What is added meanwhile is visited too.
    for (const key of group)
      for (const table of [all.en, all.de]) {
        const text = table.find(([each]) => each === key)?.[1];
        for (const [other, each] of table) if (text && each === text) group.add(other);
      }
    return [...group].sort().join("|");
  }

  /** The key of a text in the page's language, or the text itself. */
  function keyOf(text, all) {
    const table = all[language()];
    const same = table.filter(([, each]) => each === text).map(([key]) => key);
    if (same.length) return withAliases(same, all);
    const like = table.filter(
      ([, each, pattern]) =>
        each.includes("{") && /\p{L}{2}/u.test(each.replace(/\{\w+\}/g, "")) && pattern.test(text),
    );
    like.sort(([, one], [, other]) => other.length - one.length);
    return like.length ? like[0][0] : text;
  }

  /** Key of a control's own text where it has one, else of its label. */
  function nameOf(element, all) {
    const text = element.localName === "summary" ? element.firstElementChild ?? element : element;
    const own = squeeze(text.textContent);
    if (all[language()].some(([, each]) => each === own)) return keyOf(own, all);
    const label = squeeze(element.getAttribute("aria-label") ?? element.labels?.[0]?.textContent);
    const key = keyOf(label || own, all);
    return /^[\w.| -]{1,60}$/.test(key) && (key !== own || own.length < 12) ? key : "";
  }

  /** A name of a control that is the same in each language and for each job. */
  function identify(element, all) {
    if (element.id && element.id !== "dialog-text") return `#${element.id}`;
    const place = element.closest(PLACES);
    const where = place ? (place.id ? `#${place.id}` : place.classList[0] ?? place.localName) : "";
    const part = element.dataset.focus?.split(" ").at(-1);
    if (part) return `${where} ${part}`;
    const kind = element.getAttribute("role") ?? element.localName;
    const file = element.matches("a.file") ? ` ${squeeze(element.textContent)}` : "";
    const key = nameOf(element, all);
    return `${where} ${kind} ${/\d/.test(key) ? "" : key}${file}`.trim();
  }

  async function elements() {
    const all = await tables();
    return [...modal().querySelectorAll(CONTROLS)]
      .filter(isVisible)
      .map((element) => [identify(element, all), element]);
  }

  return {
    /** Names of the visible controls; those behind an open dialog are out of reach. */
    async controls() {
      return [...new Set((await elements()).map(([name]) => name))];
    },
    async find(wanted) {
      return (await elements()).find(([name]) => name === wanted)?.[1] ?? null;
    },
    /** Notes each control that gets the focus; returns more tabs than there are stops. */
    async listen() {
      const all = await tables();
      heard.clear();
      document.removeEventListener("focusin", hear);
      // Its name now: the page may draw it anew before the end.
      hear = ({ target }) => heard.add(identify(target, all));
      document.addEventListener("focusin", hear);
      // Tab would come back to it last.
      const active = document.activeElement;
      if (active.tabIndex >= 0) heard.add(identify(active, all));
      // The controls of a sound player are stops of their own.
      const players = modal().querySelectorAll("audio[controls]").length;
      return (await elements()).length + 8 * players + 8;
    },
    /** Those of the controls that can be used now, and have not had the focus. */
    async missed(controls) {
      const able = (await elements()).filter(([, element]) => !element.disabled);
      const names = new Set(able.map(([name]) => name));
      return controls.filter((name) => names.has(name) && !heard.has(name));
    },
    /** The key of the text of an element. */
    async says(selector) {
      const all = await tables();
      return keyOf(squeeze(document.querySelector(selector)?.textContent), all);
    },
    /** Visible texts that are no text of the page's language. */
    async strangers() {
      const all = await tables();
      const own = all[language()];
      const found = new Set();
      // A pattern without a word of its own would match a text of any language.
      const telling = own.filter(([, each]) => /\p{L}{2}/u.test(each.replace(/\{\w+\}/g, "")));
      const isOwn = (text) =>
        telling.some(([, each, pattern]) => each === text || pattern.test(text));
      // A sentence of its own gets a full stop.
      const isSentence = (text) => isOwn(text) || isOwn(text.replace(/[.:]$/, ""));
      const isPair = (text) =>
        [...text.matchAll(/[.:] /g)].some(
          ({ index }) => isSentence(text.slice(0, index + 1)) && isSentence(text.slice(index + 2)),
        );
      const check = (text) => {
        const plain = squeeze(text);
        if (plain && !isSentence(plain) && !isPair(plain)) found.add(plain);
      };
      const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      while (walker.nextNode()) {
        const parent = walker.currentNode.parentElement;
        if (!isVisible(parent) || parent.closest("script, style, noscript, pre, kbd, [lang]:not(html)"))
          continue;
        check(walker.currentNode.data);
      }
      for (const element of document.querySelectorAll(SHOWN.map((each) => `[${each}]`).join())) {
        if (isVisible(element)) for (const each of SHOWN) check(element.getAttribute(each));
      }
      check(document.title);
      return [...found];
    },
  };
})();
