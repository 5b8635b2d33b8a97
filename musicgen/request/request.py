"""What a caller asks for, and the one place where it is checked.

Every platform builds a `GenerationRequest` from its payload with `from_mapping`, so limits,
defaults and error texts are the same everywhere. Field names follow the schema that callers of
MusicGen on Replicate already use. This module imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

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
from musicgen.request.postprocessing import BEATS_DEFAULT, LOUDNESS_DEFAULT_LUFS, Finish
from musicgen.request.sections import Section, prompts_from, sections_from
from musicgen.request.validation import check_bool, check_integer, check_number

PROMPT_MAX_CHARACTERS = 2000
DURATION_MIN_SECONDS = 0.1
DURATION_MAX_SECONDS = 300.0
STRIDE_DEFAULT_SECONDS, STRIDE_MIN_SECONDS, STRIDE_MAX_SECONDS = 18.0, 1.0, 29.0
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

    `seed` None asks for a random one, which the result names; clip i uses `seed + i` (modulo 2^32).
    `prompts` asks for clips of several prompts at once, each with its `variations`; `sections` for
    one clip whose prompt changes: `prompt` then stands before each of theirs, and their durations
    make up `duration`. Guidance leads away from `negative_prompt`. `extend_stride` is how many of
    30 s a long clip goes on at a time; the rest is what is heard of its past. The fields of
    `musicgen.request.postprocessing` describe its post-processing. `input_audio` is a local file,
    already fetched by the platform: the music to continue when `continuation` is set, otherwise a
    melody to follow (melody models only).

    Raises: a subclass of `InvalidRequest` that names the field, the value and what is allowed.
    """

    prompt: str = ""
    prompts: tuple[str, ...] | None = None
    sections: tuple[Section, ...] | None = None
    negative_prompt: str = ""
    model_version: str | None = None
    duration: float = DURATION_DEFAULT_SECONDS
    seed: int | None = None
    variations: int = 1
    top_k: int = TOP_K_DEFAULT
    top_p: float = 0.0
    temperature: float = 1.0
    classifier_free_guidance: float = GUIDANCE_DEFAULT
    extend_stride: float = STRIDE_DEFAULT_SECONDS
    input_audio: Path | None = None
    continuation: bool = False
    continuation_start: float = 0.0
    continuation_end: float = CONTINUATION_TO_THE_END
    loop: bool = False
    bpm: float | None = None
    beats_per_bar: int = BEATS_DEFAULT
    trim_silence: bool = False
    fade_in: float = 0.0
    fade_out: float = 0.0
    steady_level: bool = True
    normalization_strategy: str = "loudness"
    target_loudness: float = LOUDNESS_DEFAULT_LUFS
    sample_rate: int | None = None
    output_format: str = "wav"
    bit_depth: str = "16"
    bitrate: int | None = None
    save_tokens: bool = False

    def __post_init__(self) -> None:
        check_integer("variations", self.variations, InvalidVariations, 1, VARIATIONS_MAX)
        _check_prompts(self)
        low, high = DURATION_MIN_SECONDS, DURATION_MAX_SECONDS
        check_number("duration", self.duration, InvalidDuration, low, high, " seconds")
        low, high = STRIDE_MIN_SECONDS, STRIDE_MAX_SECONDS
        check_number("extend_stride", self.extend_stride, InvalidRequest, low, high, " seconds")
        if self.seed is not None:
            check_integer("seed", self.seed, InvalidSeed, 0, SEED_MAX)
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
        seconds = self.finish.seconds_made
        if seconds > DURATION_MAX_SECONDS:
            raise InvalidDuration(
                "duration", seconds, f"a loop of at most {DURATION_MAX_SECONDS:g} s"
            )

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
        for name, read in _READ.items():
            if name in given:
                given[name] = read(given[name])
        # True == 1 and 1.0 == 1: the type is looked at so that -1.0 is still refused.
        if type(given.get("seed")) is int and given["seed"] == RANDOM_SEED:
            del given["seed"]
        return cls(**given)

    @property
    def texts(self) -> tuple[str, ...]:
        """The prompt of each clip, one after another; variations of a prompt are neighbours."""
        return tuple(
            text for text in self.prompts or (self.prompt,) for _ in range(self.variations)
        )

    @property
    def finish(self) -> Finish:
        return Finish(**{field.name: getattr(self, field.name) for field in fields(Finish)})

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


_READ: dict[str, Callable[[object], object]] = {"prompts": prompts_from, "sections": sections_from}
"""Fields that some platforms have as JSON."""


def _check_prompts(request: GenerationRequest) -> None:
    _check_text("prompt", request.prompt)
    _check_text("negative_prompt", request.negative_prompt)
    if request.model_version is not None:
        _check_text("model_version", request.model_version)
    for name in ("prompts", "sections"):
        if getattr(request, name) is not None:
            object.__setattr__(request, name, _READ[name](getattr(request, name)))
    if request.sections is not None:
        _check_sections(request, request.sections)
    elif request.prompts is not None:
        if request.prompt.strip():
            raise InvalidRequest("prompts", request.prompts, "one of prompt and prompts, not both")
        most = VARIATIONS_MAX // request.variations
        if not 1 <= len(request.prompts) <= most:
            raise InvalidRequest("prompts", request.prompts, f"1 to {most}, with the variations")
        for text in request.prompts:
            _check_text("prompts", text)
            _check_is_given("prompts", text, request)
    else:
        _check_is_given("prompt", request.prompt, request)


def _check_sections(request: GenerationRequest, sections: tuple[Section, ...]) -> None:
    """Their durations take the place of the request's."""
    others = {
        "prompts": request.prompts,
        "continuation": request.continuation,
        "loop": request.loop,
    }
    for name, value in others.items():
        if value:
            raise InvalidRequest("sections", len(sections), f"without {name}")
    for section in sections:
        text = f"{request.prompt} {section.prompt}"
        _check_text("sections", text)
        _check_is_given("sections", text, request)
    total = round(sum(section.duration for section in sections), 6)
    if request.duration not in (DURATION_DEFAULT_SECONDS, total):
        raise InvalidDuration(
            "duration", request.duration, f"left out: the sections make {total:g} s"
        )
    object.__setattr__(request, "duration", total)


def _check_text(field: str, text: object) -> None:
    if not isinstance(text, str):
        raise InvalidRequest(field, text, "a text")
    if len(text) > PROMPT_MAX_CHARACTERS:
        raise PromptTooLong(field, text, f"at most {PROMPT_MAX_CHARACTERS} characters")


def _check_is_given(field: str, text: str, request: GenerationRequest) -> None:
    if not text.strip() and request.input_audio is None:
        raise EmptyPrompt(field, text, "describe the music, or give input_audio")


def _check_sampling(request: GenerationRequest) -> None:
    check_number(
        "temperature", request.temperature, InvalidTemperature, low=0.0, note=" (0 is greedy)"
    )
    check_number("top_p", request.top_p, InvalidTopP, low=0.0, high=1.0)
    check_number(
        "classifier_free_guidance",
        request.classifier_free_guidance,
        InvalidGuidance,
        low=1.0,
        note=" (1 switches guidance off)",
    )
    check_integer("top_k", request.top_k, InvalidTopK, 0, TOP_K_MAX)
    if request.top_k == 0 and request.top_p == 0:
        raise InvalidTopK("top_k", 0, "top_k and top_p cannot both be 0: set one of them")
    if request.negative_prompt.strip() and request.classifier_free_guidance == 1:
        raise InvalidRequest(
            "negative_prompt", request.negative_prompt, "with classifier_free_guidance above 1"
        )


def _check_input_audio(request: GenerationRequest) -> None:
    check_bool("continuation", request.continuation, InvalidContinuation)
    start, end = request.continuation_start, request.continuation_end
    check_number("continuation_start", start, InvalidContinuation, low=0.0, unit=" seconds")
    if end != CONTINUATION_TO_THE_END:
        check_number(
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
    if not request.continuation and (start, end) != (0, CONTINUATION_TO_THE_END):
        why = "needs continuation=true; a melody is heard whole"
        name, value = ("continuation_start", start) if start else ("continuation_end", end)
        raise InvalidContinuation(name, value, why)
    if request.input_audio is not None and not isinstance(request.input_audio, Path):
        raise InvalidInputAudio(
            "input_audio", request.input_audio, "a file that the platform has fetched, not a name"
        )
    if request.continuation and request.input_audio is None:
        raise InvalidContinuation("continuation", True, "needs input_audio, the clip to continue")
