"""Model card of the demo: its recipe, its curves and its measurements."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

from training.codec import train as codec
from training.data import HELD_OUT_SEED
from training.export import SHARPNESS
from training.language_model import text as text_encoder
from training.language_model import train as language_model
from training.language_model.model import LAYERS, TEXT_LAYERS, TEXT_WIDTH, WIDTH

PICTURE = "curves.png"
TEMPLATE = Path(__file__).with_name("card.md")
_AXES = {
    "register": "“high” above “low” in spectral centroid",
    "tempo": "“fast” above “slow” in onset rate",
    "loudness": "“loud” above “soft” in level",
    "drums": "drums noisier than a flute",
    "key": "the named key above the farthest one in pitch classes",
}


def write_card(
    output: Path, codec_folder: Path, language_model_folder: Path, figures: dict[str, Any]
) -> None:
    """Write README.md and its picture into the checkpoint folder `output`.

    `figures`: "codec", of `codec_report`, and "evaluation", of `musicgen evaluate`.
    """
    sound, text = _curve(codec_folder), _curve(language_model_folder)
    _plot(sound, text, output / PICTURE)
    card = TEMPLATE.read_text(encoding="utf-8").format(
        megabytes=f"{sum(p.stat().st_size for p in output.glob('*.*')) / 1e6:.1f}",
        picture=PICTURE,
        codec_minutes=round(sound[-1]["minutes"]),
        codec_steps=sound[-1]["steps"],
        codec_seed=codec.SEED,
        codec_batch=codec.BATCH,
        codec_rate=codec.LEARNING_RATE,
        filters=codec.CONFIG.filters,
        codebooks=codec.CONFIG.codebooks,
        entries=codec.CONFIG.codebook_size,
        minutes=round(text[-1]["minutes"]),
        steps=text[-1]["steps"],
        seed=language_model.SEED,
        batches=" and ".join(f"{n} of {f / 50:g} s" for n, f in language_model.BATCHES),
        seconds=language_model.FRAMES / 50,
        weights=" / ".join(map(str, language_model.CODEBOOK_WEIGHTS)),
        beginning_frames=language_model.BEGINNING_FRAMES,
        beginning_every=language_model.BEGINNING_EVERY,
        beginning_weight=language_model.BEGINNING_WEIGHT,
        first=language_model.FIRST_FRAMES / 50,
        first_weight=language_model.FIRST_WEIGHT,
        guided=1 - language_model.GUIDED_FROM,
        scale=language_model.GUIDED_SCALE,
        unguided=language_model.UNGUIDED_WEIGHT,
        smoothing=language_model.LABEL_SMOOTHING,
        rate=language_model.LEARNING_RATE,
        sharpness=SHARPNESS,
        layers=LAYERS,
        width=WIDTH,
        text_layers=TEXT_LAYERS,
        text_width=TEXT_WIDTH,
        text_steps=text_encoder.STEPS,
        text_batch=text_encoder.BATCH,
        dropped=f"{language_model.WITHOUT_PROMPT:.0%}",
        held_out=f"{HELD_OUT_SEED:,}",
        codec_table=_codec_table(figures["codec"]),
        likelihood_table=_likelihood_table(figures["evaluation"]["likelihood"]),
        adherence_table=_adherence_table(figures["evaluation"]["adherence"]),
        sound_lines=_sound_lines(figures["evaluation"]["adherence"]),
    )
    (output / "README.md").write_text(card, encoding="utf-8")


def _curve(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]


def _codec_table(report: dict[str, dict[str, float]]) -> str:
    return "\n".join(
        f"| {name} | {each['si_sdr']:.1f} dB | {each['spectral_distance']:.2f} |"
        for name, each in report.items()
    )


def _likelihood_table(likelihood: dict[str, Any]) -> str:
    lines = []
    for name in ("own_prompt", "no_prompt", "another_prompt"):
        nats = likelihood[name]
        low, high = nats["interval"]
        books = " / ".join(f"{each:.2f}" for each in nats["codebooks"])
        lines.append(
            f"| {name.replace('_', ' ')} | {nats['mean']:.3f} | {low:.3f} to {high:.3f} | {books} |"
        )
    return "\n".join(lines)


def _adherence_table(results: list[dict[str, Any]]) -> str:
    scales = [f"guidance {each['guidance']:g}" for each in results]
    lines = [f"| | {' | '.join(scales)} |", "|---" * (len(scales) + 1) + "|"]
    for axis, words in _AXES.items():
        cells = []
        for each in results:
            answer = each["answers"][axis]
            low, high = answer["interval"]
            cells.append(
                f"{answer['right']}/{answer['pairs']} = {answer['share']:.0%} "
                f"({low:.0%} to {high:.0%})"
            )
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _sound_lines(results: list[dict[str, Any]]) -> str:
    return "\n".join(
        f"- Guidance {each['guidance']:g}, {each['clips']} clips of {each['seconds']:g} s: "
        f"{each['silent_clips']} with a second of silence, "
        f"{each['clipped']:.3%} of the samples at full scale, "
        f"{each['clicks']} clicks at {each['borders']} borders between streamed pieces."
        for each in results
    )


def _plot(sound: list[dict[str, Any]], text: list[dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    minutes = [line["minutes"] for line in sound]
    left.plot(minutes, [line["si_sdr_unquantized"] for line in sound], label="before quantization")
    left.plot(minutes, [line["si_sdr"] for line in sound], label="codec")
    left.set(title="Codec, held-out music", xlabel="minutes", ylabel="SI-SDR in dB")
    for name in ("own prompt", "guided", "no prompt", "another prompt"):
        points = [(each["minutes"], fmean(each[name])) for each in text if name in each]
        right.plot(*zip(*points, strict=True), label=name)
    right.set(title="Language model, held-out music", xlabel="minutes", ylabel="nats a token")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=100, metadata={"Software": None})
