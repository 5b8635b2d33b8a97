"""The request: what a caller asks for, each field declared once, validated in one place.

Every platform builds a `GenerationRequest` from its payload with `from_mapping`, so limits,
defaults and errors are the same everywhere. Field names follow the schema of MusicGen on
Replicate. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from musicgen.errors import UnknownField
from musicgen.request import limits
from musicgen.request.audio_format import AudioFormat
from musicgen.request.rules import check_rules, seconds_of, seconds_to_generate
from musicgen.request.sections import parse_prompts, parse_sections
from musicgen.request.table import RequestFields, request_fields

StreamForm = Literal["joined", "files"]
"""Pieces of a stream: parts of one growing file, or each a file that plays by itself."""


@dataclass(frozen=True)
class SamplingParams:
    """How one row of the batch is sampled.

    `temperature` 0 is greedy. `top_p` above 0 overrides `top_k`, as in audiocraft; with 0 for both
    all tokens take part. `guidance` is the classifier-free guidance scale; 1 switches guidance (and
    its second row) off, and 0 ignores the prompt. `text_guidance` is the weight of the prompt
    beside a style, None for one guidance of both.
    """

    temperature: float = 1.0
    top_k: int = limits.TOP_K_DEFAULT
    top_p: float = 0.0
    guidance: float = limits.GUIDANCE_DEFAULT
    text_guidance: float | None = None


@dataclass(frozen=True, kw_only=True)
class GenerationRequest(RequestFields):
    """One request; constructing it validates it. Durations are seconds.

    `seed` None asks for a random one; clip i uses `seed + i` (modulo 2^32). `input_audio` is a
    local file, fetched by the platform before.

    Raises: a subclass of `InvalidRequest` with the field, the value and the allowed values.
    """

    def __post_init__(self) -> None:
        """Validate every field by its declaration, then what concerns several of them."""
        self._parse_lists()
        for name, spec in request_fields().items():
            value = spec.convert(getattr(self, name))
            object.__setattr__(self, name, value)
            spec.check(value)
        if self.seed == limits.RANDOM_SEED:
            object.__setattr__(self, "seed", None)
        total = check_rules(self)
        object.__setattr__(self, "duration", total)

    @classmethod
    def from_mapping(
        cls, payload: Mapping[str, Any], other_fields: Iterable[str] = ()
    ) -> GenerationRequest:
        """Build a request from a platform's payload; None means "not given".

        `other_fields`: names of the platform's own fields, listed in the error.
        Raises: `UnknownField` with the nearest known name; what the constructor raises.
        """
        known = request_fields()
        for name in payload:
            if name not in known:
                raise UnknownField(name, [*known, *other_fields])
        return cls(**{name: value for name, value in payload.items() if value is not None})

    def to_mapping(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults, and `prompt`; see `from_mapping`.

        Values are JSON's, except `input_audio`, a `Path`. `duration` is left out with `sections`.
        """
        mapping: dict[str, Any] = {}
        for name, spec in request_fields().items():
            value = getattr(self, name)
            if name == "prompt" or value != spec.default:
                mapping[name] = list(value) if isinstance(value, tuple) else value
        if self.sections is not None:
            mapping["sections"] = [asdict(section) for section in self.sections]
            mapping.pop("duration", None)
        return mapping

    @property
    def texts(self) -> tuple[str, ...]:
        """The prompt of each clip; variations of a prompt are neighbours."""
        return tuple(
            text for text in self.prompts or (self.prompt,) for _ in range(self.variations)
        )

    @property
    def seconds(self) -> float:
        """Length of a finished clip before silence is cut: whole bars for a loop."""
        return seconds_of(self)

    @property
    def seconds_to_generate(self) -> float:
        """Length of the music that the model generates for one clip."""
        return seconds_to_generate(self)

    @property
    def audio_format(self) -> AudioFormat:
        """Format of the clips; its sample rate is None where the model's applies."""
        return AudioFormat(self.output_format, self.bit_depth, self.bitrate, self.sample_rate)

    @property
    def sampling(self) -> SamplingParams:
        """The sampling parameters, as floats where the engine wants floats."""
        temperature = min(float(self.temperature), limits.GREATEST_TEMPERATURE)
        return SamplingParams(
            0.0 if temperature < limits.LEAST_TEMPERATURE else temperature,
            self.top_k,
            float(self.top_p),
            float(self.classifier_free_guidance),
            None if self.text_guidance is None else float(self.text_guidance),
        )

    def _parse_lists(self) -> None:
        if self.prompts is not None:
            object.__setattr__(self, "prompts", parse_prompts(self.prompts))
        if self.sections is not None:
            object.__setattr__(self, "sections", parse_sections(self.sections))


def seed_of_variation(seed: int, index: int) -> int:
    """Return the seed of variation `index` (from 0) of a request with `seed`."""
    return (seed + index) % (limits.SEED_MAX + 1)
