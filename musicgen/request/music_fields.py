"""Request fields about the music: prompts, length, input audio and sampling. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from musicgen.catalog import CATALOG, DIFFUSION, MUSICGEN_LICENCE
from musicgen.errors import (
    InvalidContinuation,
    InvalidDuration,
    InvalidGuidance,
    InvalidInputAudio,
    InvalidSeed,
    InvalidTemperature,
    InvalidTopK,
    InvalidTopP,
    InvalidVariations,
)
from musicgen.request import fields, limits
from musicgen.request.sections import Section


@dataclass(frozen=True, kw_only=True)
class MusicFields:
    """What the model generates."""

    prompt: str = fields.declare(
        "text",
        "",
        help="Description of the music. May be empty only if input_audio is given.",
        label="Prompt",
        group="Music",
        example={"prompt": "upbeat electronic music"},
    )
    model_version: str | None = fields.declare(
        "model",
        help="Model to use, loaded first if necessary; by default the one this deployment started "
        f"with. All but demo are Meta's weights, licensed {MUSICGEN_LICENCE}: no commercial use. "
        "demo is a toy trained on synthetic music. Melody models can follow input_audio; stereo "
        "models make two channels.",
        label="Model",
        group="Music",
        example={"prompt": "epic orchestra", "model_version": "stereo-small"},
        choices=tuple(CATALOG),
    )
    prompts: tuple[str, ...] | None = fields.declare(
        "texts",
        help="Several prompts instead of one; each makes its own clips. Prompts times variations "
        f"may be at most {limits.VARIATIONS_MAX}.",
        label="More prompts, one a line",
        group="Prompts",
        example={"prompts": ["calm piano", "fast bells"]},
        on_cog=False,
    )
    negative_prompt: str = fields.declare(
        "text",
        "",
        help="Description of what the music should not be like.",
        label="Negative prompt",
        group="Prompts",
        example={"prompt": "solo violin", "negative_prompt": "drums, distorted"},
        needs="classifier_free_guidance above 1",
        option="--negative-prompt",
        metavar="TEXT",
    )
    sections: tuple[Section, ...] | None = fields.declare(
        "sections",
        help="One clip with changing prompts, as a list of objects with prompt and duration (up to "
        f"{limits.SECTIONS_MAX}). The music continues from section to section. prompt is put "
        "before each section's prompt, and the sections' durations replace duration.",
        label="Sections",
        group="Prompts",
        example={"sections": [{"prompt": "soft piano", "duration": 12}]},
        option="--sections",
        metavar="JSON",
    )
    duration: float = fields.declare(
        "number",
        limits.DURATION_DEFAULT_SECONDS,
        help="Length of the clip. With continuation it includes the continued part.",
        label="Length in seconds",
        group="Music",
        example={"prompt": "calm piano", "duration": 60},
        low=limits.DURATION_MIN_SECONDS,
        high=limits.DURATION_MAX_SECONDS,
        unit="seconds",
        error=InvalidDuration,
        option="--duration",
        metavar="S",
    )
    extend_stride: float = fields.declare(
        "number",
        limits.STRIDE_DEFAULT_SECONDS,
        help="Clips over 30 s are made in windows of 30 s: seconds of new music in each, a third "
        "of it in AudioGen's windows of 10 s. A lower value gives the model more context and takes "
        "longer.",
        label="Stride, seconds",
        group="Sampling",
        example={"prompt": "slow ambient pads", "duration": 215.5, "extend_stride": 15},
        low=limits.STRIDE_MIN_SECONDS,
        high=limits.STRIDE_MAX_SECONDS,
        unit="seconds",
        option="--extend-stride",
        metavar="S",
    )
    variations: int = fields.declare(
        "integer",
        1,
        help="Number of clips for each prompt, with seed, seed+1 and so on.",
        label="Variations",
        group="Music",
        example={"prompt": "calm piano", "variations": 3},
        low=1,
        high=limits.VARIATIONS_MAX,
        error=InvalidVariations,
        option="--variations",
        metavar="N",
        on_cog=False,
    )
    seed: int | None = fields.declare(
        "integer",
        help="Seed, for a repeatable result on the same kind of machine. By default, or with -1, a "
        "random one is chosen and returned.",
        label="Seed",
        group="Music",
        example={"prompt": "calm piano", "seed": 7},
        low=limits.RANDOM_SEED,
        high=limits.SEED_MAX,
        error=InvalidSeed,
        option="--seed",
        metavar="N",
    )
    input_audio: Path | None = fields.declare(
        "audio",
        help="With continuation: music to continue. Without: melody to follow (melody models), "
        "or music whose style to take (style models).",
        label="A sound file, at most 100 MB",
        group="Input audio",
        example={"prompt": "epic orchestra", "input_audio": "https://example.com/whistling.wav"},
        error=InvalidInputAudio,
        option="--input-audio",
        metavar="FILE",
    )
    continuation: bool = fields.declare(
        "boolean",
        False,
        help="Continue input_audio. The clip begins with the continued part.",
        label="Continue this clip",
        group="Input audio",
        example={"prompt": "guitar", "input_audio": "guitar.flac", "continuation": True},
        error=InvalidContinuation,
        needs="input_audio",
        option="--continuation",
    )
    continuation_start: float = fields.declare(
        "number",
        0.0,
        help="Start of the part of input_audio to continue or to follow.",
        label="From second",
        group="Input audio",
        example={"input_audio": "a.wav", "continuation": True, "continuation_start": 4},
        low=0.0,
        unit="seconds",
        error=InvalidContinuation,
        needs="input_audio",
        option="--continuation-start",
        metavar="S",
    )
    continuation_end: float = fields.declare(
        "number",
        limits.CONTINUATION_TO_THE_END,
        help="End of the part of input_audio to continue or to follow; -1 is the end of the file.",
        label="To second",
        group="Input audio",
        example={"input_audio": "a.wav", "continuation": True, "continuation_end": 12},
        low=limits.CONTINUATION_TO_THE_END,
        unit="seconds",
        error=InvalidContinuation,
        needs="input_audio",
        option="--continuation-end",
        metavar="S",
    )
    top_k: int = fields.declare(
        "integer",
        limits.TOP_K_DEFAULT,
        help="Sample from the k most likely tokens. With 0 here and in top_p all tokens take part. "
        "The default means all tokens of a model that has fewer.",
        label="Top k",
        group="Sampling",
        example={"prompt": "solo flute", "top_k": 50},
        low=0,
        high=limits.TOP_K_MAX,
        error=InvalidTopK,
        option="--top-k",
        metavar="N",
    )
    top_p: float = fields.declare(
        "number",
        0.0,
        help="Sample from the most likely tokens with this total probability, instead of top_k; 0 "
        "switches this off.",
        label="Top p",
        group="Sampling",
        example={"prompt": "solo flute", "top_p": 0.9},
        low=0.0,
        high=1.0,
        error=InvalidTopP,
        option="--top-p",
        metavar="P",
    )
    temperature: float = fields.declare(
        "number",
        1.0,
        help="Higher values vary more; 0 always takes the most likely token.",
        label="Temperature",
        group="Sampling",
        example={"prompt": "solo flute", "temperature": 0.9},
        low=0.0,
        error=InvalidTemperature,
        option="--temperature",
        metavar="T",
    )
    classifier_free_guidance: float = fields.declare(
        "number",
        limits.GUIDANCE_DEFAULT,
        help="Strength of the prompt's influence; 1 switches guidance off, which is faster, and 0 "
        "ignores the prompt.",
        label="Guidance",
        group="Sampling",
        example={"prompt": "solo flute", "classifier_free_guidance": 3.5},
        low=0.0,
        high=limits.GUIDANCE_MAX,
        error=InvalidGuidance,
        option="--guidance",
        metavar="SCALE",
    )
    decoder: str = fields.declare(
        "choice",
        limits.ENCODEC,
        choices=limits.DECODERS,
        help="Network that turns the model's tokens into sound. multi_band_diffusion takes much "
        f"longer and has weights of its own ({DIFFUSION}, {MUSICGEN_LICENCE}: no commercial use). "
        "It needs a model of 32 kHz and PyTorch; live sound comes at the end.",
        label="Decoder",
        group="Sampling",
        example={"prompt": "solo flute", "decoder": limits.MULTI_BAND_DIFFUSION},
        option="--decoder",
        metavar="NAME",
    )
