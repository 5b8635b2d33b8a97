"""Request fields of style models: how input_audio gives its style. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from musicgen.request import fields, limits


@dataclass(frozen=True, kw_only=True)
class StyleFields:
    """How a style model hears input_audio."""

    style_seconds: float | None = fields.declare(
        "number",
        help="Length of the excerpt of input_audio whose style is taken, from the middle of the "
        "file or of its chosen part; by default 3. For style models.",
        label="Style: seconds heard",
        group="Sampling",
        example={
            "prompt": "techno",
            "input_audio": "https://example.com/a.wav",
            "style_seconds": 4,
        },
        low=limits.STYLE_MIN_SECONDS,
        high=limits.STYLE_MAX_SECONDS,
        unit="seconds",
        needs="a style model and input_audio",
        option="--style-seconds",
        metavar="S",
    )
    style_detail: int | None = fields.declare(
        "integer",
        help="Codebooks of the style: with 1 the music is only loosely like the excerpt, with more "
        "it is closer; by default 3. For style models.",
        label="Style: detail",
        group="Sampling",
        example={"prompt": "techno", "input_audio": "https://example.com/a.wav", "style_detail": 1},
        low=1,
        high=limits.STYLE_MAX_DETAIL,
        needs="a style model and input_audio",
        option="--style-detail",
        metavar="N",
    )
    text_guidance: float | None = fields.declare(
        "number",
        help="Strength of the prompt beside the style: above 1 the prompt counts for more. By "
        "default both are guided as one; this guides them apart and takes half as long again. For "
        "style models.",
        label="Style: strength of the prompt",
        group="Sampling",
        example={
            "prompt": "techno",
            "input_audio": "https://example.com/a.wav",
            "text_guidance": 5,
        },
        low=0.0,
        high=limits.TEXT_GUIDANCE_MAX,
        needs="a style model, input_audio and a prompt",
        option="--text-guidance",
        metavar="SCALE",
    )
