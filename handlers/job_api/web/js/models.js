/** The choice of models, each with its licence in sight. */

import { $, h } from "./dom.js";
import { tell } from "./errors.js";
import { number, say } from "./language.js";
import { isNotCommercial, licence } from "./words.js";

let known = [];

const chosen = () => known.find((model) => model.id === $("f-model_version").value);

export const modelFollowsMelody = () => /melody|style/.test(chosen()?.follows ?? "");

function stateOf({ available, loaded, loading }) {
  if (!available) return say("models.not-here");
  if (loaded) return say("models.ready");
  return loading ? say("models.loading") : null;
}

function conditions({ follows }) {
  if (follows.includes("melody")) return say("models.melody");
  return follows.includes("style") ? say("models.style") : say("models.text");
}

function label(model) {
  const facts = [
    conditions(model),
    model.channels === 2 ? say("models.stereo") : say("models.mono"),
    stateOf(model),
    model.licence,
  ];
  return `${model.id} (${facts.filter(Boolean).join(", ")})`;
}

function memory(model) {
  const sizes = Object.values(model.memory_gb ?? {}).filter(Number.isFinite);
  if (!sizes.length) return "";
  const [least, most] = [Math.min(...sizes), Math.max(...sizes)].map((size) =>
    number(size, { minimumFractionDigits: 1, maximumFractionDigits: 1 }),
  );
  return least === most
    ? ` ${say("models.memory", { size: least })}`
    : ` ${say("models.memory-range", { least, most })}`;
}

/** A worker of an older version gives no code. */
const failure = ({ error, error_code: code }) => (code ? tell({ code, message: error }) : error);

function showNote() {
  const model = chosen();
  if (!model) return;
  const isElsewhere = known.some(({ loaded }) => loaded) && !model.loaded;
  const wait = model.error
    ? ` ${say("models.error", { reason: failure(model) })}`
    : isElsewhere
      ? ` ${say("models.not-loaded")}${memory(model)}`
      : "";
  const text = say("models.licence", { licence: licence(model.licence) });
  $("model-note").replaceChildren(h("strong", {}, text), wait);
  $("model-note").classList.toggle("restricted", isNotCommercial(model.licence));
}

/** Shows the models. `answer`: of GET /v1/models. */
export function showModels(answer) {
  known = answer.data;
  const select = $("f-model_version");
  const before = select.value;
  select.replaceChildren(
    ...known.map((model) => {
      const isDefault = model.id === answer.default;
      return h(
        "option",
        {
          value: model.id,
          selected: isDefault,
          "data-default": isDefault,
          disabled: !model.available,
        },
        label(model),
      );
    }),
  );
  if (known.some((model) => model.id === before)) select.value = before;
  showNote();
}

export function startModels() {
  $("f-model_version").addEventListener("change", showNote);
  // A reset takes effect after its event.
  $("request").addEventListener("reset", () => setTimeout(showNote));
  $("request").addEventListener("optionschange", showNote);
}
