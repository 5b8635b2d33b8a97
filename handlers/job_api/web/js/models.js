/** The choice of models, each with its licence in sight. */

import { $, h } from "./dom.js";
import { isNotCommercial, licence } from "./words.js";

let known = [];

const chosen = () => known.find((model) => model.name === $("f-model_version").value);

export const modelFollowsMelody = () => chosen()?.follows.includes("melody") ?? false;

function label(model) {
  const sound = model.channels === 2 ? "stereo" : "mono";
  const state = model.loaded ? ", ready" : model.loading ? ", being loaded" : "";
  return `${model.name} (${model.follows}, ${sound}${state})`;
}

function memory(model) {
  const sizes = Object.values(model.memory_gb ?? {}).filter(Number.isFinite);
  if (!sizes.length) return "";
  const [least, most] = [Math.min(...sizes), Math.max(...sizes)].map((size) => size.toFixed(1));
  return least === most ? ` It needs ${least} GB.` : ` It needs ${least} to ${most} GB.`;
}

function showNote() {
  const model = chosen();
  if (!model) return;
  const isElsewhere = known.some(({ loaded }) => loaded) && !model.loaded;
  const wait = model.error
    ? ` It could not be loaded: ${model.error}`
    : isElsewhere ? ` Not loaded yet, so the first clip takes longer.${memory(model)}` : "";
  $("model-note").replaceChildren(h("strong", {}, `Licence ${licence(model.licence)}.`), wait);
  $("model-note").classList.toggle("restricted", isNotCommercial(model.licence));
}

/** Shows the models. `answer`: of GET /v1/models. */
export function showModels(answer) {
  known = answer.models;
  const select = $("f-model_version");
  const before = select.value;
  select.replaceChildren(
    ...known.map((model) => {
      const isDefault = model.name === answer.default;
      return h(
        "option",
        { value: model.name, selected: isDefault, "data-default": isDefault },
        label(model),
      );
    }),
  );
  if (known.some((model) => model.name === before)) select.value = before;
  showNote();
}

export function startModels() {
  $("f-model_version").addEventListener("change", showNote);
  // A reset takes effect after its event.
  $("request").addEventListener("reset", () => setTimeout(showNote));
  $("request").addEventListener("optionschange", showNote);
}
