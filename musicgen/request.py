"""What a caller asks for, and the one place where it is checked.

Every platform builds a `GenerationRequest` from its payload with `from_mapping`, so limits,
defaults and error texts are the same everywhere. Field names follow the schema that callers of
MusicGen on Replicate already use. This module imports no torch.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, cast

from musicgen.errors import (
    EmptyPrompt,
    InvalidBitDepth,
    InvalidContinuation,
    InvalidDuration,
    InvalidGuidance,
    InvalidInputAudio,
    InvalidRequest,
    InvalidSeed,
    InvalidTemperature,
    InvalidTopK,
    InvalidTopP,
    InvalidVariations,
    PromptTooLong,
    UnknownField,
    UnknownFormat,
    UnknownStrategy,
)

PROMPT_MAX_CHARACTERS = 2000
DURATION_MIN_SECONDS = 0.1
DURATION_MAX_SECONDS = 30.0
DURATION_DEFAULT_SECONDS = 8.0
SEED_MAX = 2**32 - 1
VARIATIONS_MAX = 8
TOP_K_MAX = 2048
TOP_K_DEFAULT = 250
GUIDANCE_DEFAULT = 3.0
CONTINUATION_TO_THE_END = -1.0
RANDOM_SEED = -1
"""What callers of MusicGen on Replicate send for "choose one"; 0 is a seed like any other."""
OUTPUT_FORMATS = ("wav", "flac", "mp3", "ogg", "opus")
NORMALIZATION_STRATEGIES = ("loudness", "peak", "rms", "clip", "none")
BIT_DEPTHS = ("16", "24", "float")
StreamForm = Literal["joined", "files"]
"""Pieces of a stream: parts of one growing file, or each a file that plays by itself."""


@dataclass(frozen=True)
class SamplingParams:
    """How one row of the batch is sampled.

    `temperature` 0 is greedy. `top_p` above 0 wins over `top_k`, as in audiocraft. `guidance` is
    the classifier-free guidance scale; 1 switches guidance (and its second row) off.
    """

    temperature: float = 1.0
    top_k: int = TOP_K_DEFAULT
    top_p: float = 0.0
    guidance: float = GUIDANCE_DEFAULT


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """One request; constructing it validates it. Durations are seconds.

    `seed` None asks for a random one, which the result names; variation i uses `seed + i`
    (modulo 2^32). `input_audio` is a local file that the platform has already fetched: the music
    to continue when `continuation` is set, otherwise a melody to follow (melody models only).

    Raises: a subclass of `InvalidRequest` that names the field, the value and what is allowed.
    """

    prompt: str = ""
    model_version: str | None = None
    duration: float = DURATION_DEFAULT_SECONDS
    seed: int | None = None
    variations: int = 1
    top_k: int = TOP_K_DEFAULT
    top_p: float = 0.0
    temperature: float = 1.0
    classifier_free_guidance: float = GUIDANCE_DEFAULT
    input_audio: Path | None = None
    continuation: bool = False
    continuation_start: float = 0.0
    continuation_end: float = CONTINUATION_TO_THE_END
    normalization_strategy: str = "loudness"
    output_format: str = "wav"
    bit_depth: str = "16"

    def __post_init__(self) -> None:
        _check_prompt(self.prompt, has_audio=self.input_audio is not None)
        _check_number(
            "duration",
            self.duration,
            InvalidDuration,
            low=DURATION_MIN_SECONDS,
            high=DURATION_MAX_SECONDS,
            unit=" seconds",
        )
        if self.seed is not None:
            _check_integer("seed", self.seed, InvalidSeed, 0, SEED_MAX)
        _check_integer("variations", self.variations, InvalidVariations, 1, VARIATIONS_MAX)
        _check_sampling(self)
        _check_input_audio(self)
        if self.output_format not in OUTPUT_FORMATS:
            raise UnknownFormat("output_format", self.output_format, OUTPUT_FORMATS)
        if self.normalization_strategy not in NORMALIZATION_STRATEGIES:
            raise UnknownStrategy(
                "normalization_strategy", self.normalization_strategy, NORMALIZATION_STRATEGIES
            )
        if self.bit_depth not in BIT_DEPTHS:
            raise InvalidBitDepth("bit_depth", self.bit_depth, f"one of {', '.join(BIT_DEPTHS)}")

    @classmethod
    def from_mapping(cls, payload: Mapping[str, Any]) -> GenerationRequest:
        """Builds a request from a platform's payload; None means "not given", as does seed -1.

        Raises: `UnknownField` for a name that is not a field, with the nearest one.
        """
        known = {field.name for field in fields(cls)}
        for name, value in payload.items():
            if name not in known:
                raise UnknownField(name, value, known)
        given = {name: value for name, value in payload.items() if value is not None}
        # True == 1 and 1.0 == 1: the type is looked at so that -1.0 is still refused.
        if type(given.get("seed")) is int and given["seed"] == RANDOM_SEED:
            del given["seed"]
        return cls(**given)

    @property
    def sampling(self) -> SamplingParams:
        return SamplingParams(
            float(self.temperature),
            self.top_k,
            float(self.top_p),
            float(self.classifier_free_guidance),
        )


def seed_of_variation(seed: int, index: int) -> int:
    """Seed of variation `index` (from 0) of a request with `seed`."""
    return (seed + index) % (SEED_MAX + 1)


def _check_prompt(prompt: object, *, has_audio: bool) -> None:
    if not isinstance(prompt, str):
        raise InvalidRequest("prompt", prompt, "a text")
    if not prompt.strip() and not has_audio:
        raise EmptyPrompt("prompt", prompt, "describe the music, or give input_audio")
    if len(prompt) > PROMPT_MAX_CHARACTERS:
        raise PromptTooLong("prompt", prompt, f"at most {PROMPT_MAX_CHARACTERS} characters")


def _check_sampling(request: GenerationRequest) -> None:
    _check_number(
        "temperature", request.temperature, InvalidTemperature, low=0.0, note=" (0 is greedy)"
    )
    _check_number("top_p", request.top_p, InvalidTopP, low=0.0, high=1.0)
    _check_number(
        "classifier_free_guidance",
        request.classifier_free_guidance,
        InvalidGuidance,
        low=1.0,
        note=" (1 switches guidance off)",
    )
    _check_integer("top_k", request.top_k, InvalidTopK, 0, TOP_K_MAX)
    if request.top_k == 0 and request.top_p == 0:
        raise InvalidTopK("top_k", 0, "top_k and top_p cannot both be 0: set one of them")


def _check_input_audio(request: GenerationRequest) -> None:
    if not isinstance(request.continuation, bool):
        raise InvalidContinuation("continuation", request.continuation, "true or false")
    start, end = request.continuation_start, request.continuation_end
    _check_number("continuation_start", start, InvalidContinuation, low=0.0, unit=" seconds")
    if end != CONTINUATION_TO_THE_END:
        _check_number(
            "continuation_end",
            end,
            InvalidContinuation,
            low=0.0,
            unit=" seconds",
            note=" (-1 is the end of the clip)",
        )
        if end <= start:
            raise InvalidContinuation(
                "continuation_end", end, f"later than continuation_start={start}, or -1 for the end"
            )
    if request.input_audio is not None and not isinstance(request.input_audio, Path):
        raise InvalidInputAudio(
            "input_audio", request.input_audio, "a file that the platform has fetched, not a name"
        )
    if request.continuation and request.input_audio is None:
        raise InvalidContinuation("continuation", True, "needs input_audio, the clip to continue")


def _check_number(
    field: str,
    value: object,
    error: type[InvalidRequest],
    *,
    low: float,
    high: float | None = None,
    unit: str = "",
    note: str = "",
) -> None:
    allowed = f"{low:g} or more" if high is None else f"a number from {low:g} to {high:g}"
    highest = sys.float_info.max if high is None else high
    # bool is an int in Python: `duration: true` would otherwise pass as one second.
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # NaN is on neither side of anything, so it fails the comparison too.
    if not is_number or not low <= cast(float, value) <= highest:
        raise error(field, value, f"{allowed}{unit}{note}")


def _check_integer(
    field: str, value: object, error: type[InvalidRequest], low: int, high: int
) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise error(field, value, f"a whole number from {low} to {high}")
