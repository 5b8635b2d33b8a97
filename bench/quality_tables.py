"""Tables of what precisions and windows cost in quality, and what the level costs in time."""

from __future__ import annotations

from typing import Any

from bench.table_lines import head, line


def precision_table(result: dict[str, Any]) -> str:
    forms = {
        name: figures
        for name, figures in result.items()
        if isinstance(figures, dict) and "kl_nats" in figures
    }
    overlap = next(key for key in forms["float32"] if key.endswith("_overlap"))
    exact = forms["float32"]["nll_nats"]
    lines = head("", "error", "best token", overlap.replace("_", " ")[:-8], "KL, nats", "NLL")
    for name, figures in forms.items():
        if name == "float32":
            continue
        lines.append(
            line(
                name,
                f"{figures['relative_error']:.1e}",
                f"{figures['top_1_agreement']:.1%}",
                f"{figures[overlap]:.1%}",
                f"{max(figures['kl_nats'], 0):.1e}",
                f"{figures['nll_nats'] / exact - 1:+.3%}",
            )
        )
    return "\n".join(lines)


def continuity_table(result: dict[str, Any]) -> str:
    heads = ("", "rows a frame", "on the scale: first, last", "tempo", "timbre", "level", "seam")
    lines = head(*heads)
    for name, figures in result["conditions"].items():
        drifts = (("tempo", "{:.2f}"), ("timbre", "{:.2f}"), ("level", "{:.1f} dB"))
        cells = [
            f"{form.format(figures[key])} ± {figures[f'{key}_error']:.2f}" for key, form in drifts
        ]
        scale = f"{figures['scale_first']:.0%}, {figures['scale_last']:.0%}"
        scale += f" ± {100 * figures['scale_last_error']:.0f}"
        seam = f"{figures['seam']:.2f}"
        lines.append(line(name, f"{figures['steps']:.2f}", scale, *cells, seam))
    return "\n".join([*lines, "", f"{result['model']}, {result['prompts']} prompts."])


def limiter_table(result: dict[str, Any]) -> str:
    sounds = result["sounds"]
    lines = head("milliseconds of processor time", *sounds)
    for strategy in next(iter(sounds.values()))["level_ms"]:
        lines.append(line(strategy, *(f"{s['level_ms'][strategy]:.1f}" for s in sounds.values())))
    limiter = (f"{s['limiter_ms']:.1f}" for s in sounds.values())
    lines.append(line("of `loudness`, the limiter", *limiter))
    shares = (f"{s['limiter_share']:.2%}" for s in sounds.values())
    lines.append(line("the limiter's share of the generation", *shares))
    conditions = f"{result['model']} in {result['precision']}, {result['seconds_of_audio']:g} s"
    generation = f"{result['generation_ms'] / 1000:.2f} s of generation"
    lines += ["", f"{conditions}; {generation}; the least of {result['rounds']} rounds."]
    return "\n".join(lines)
