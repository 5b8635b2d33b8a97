"""What a caller gets back. This module imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Progress:
    """How far a request is: `done` of `total` decode steps; never decreases, never passes 1.

    `audio`: what became known of each clip since the last one, when a stream was asked for.
    """

    done: int
    total: int
    audio: tuple[bytes, ...] = ()

    @property
    def fraction(self) -> float:
        return self.done / self.total


@dataclass
class Timings:
    """Wall-clock seconds spent in each phase of one request."""

    text: float = 0.0
    """Tokenizer and text encoder."""
    audio_prompt: float = 0.0
    """Reading, resampling and encoding the input audio."""
    decode: float = 0.0
    """The autoregressive steps."""
    codec: float = 0.0
    """EnCodec, tokens to waveform."""
    finish: float = 0.0
    """Normalization and the container's encoder."""
    store: float = 0.0
    waiting: float = 0.0
    """In line, until there was room in the batch; not part of `total`."""

    @property
    def total(self) -> float:
        return self.text + self.audio_prompt + self.decode + self.codec + self.finish + self.store


@dataclass(frozen=True)
class Clip:
    """One variation, as it was stored.

    `prompt` is what the model was given, of several sections one after another. `loudness_lufs` is
    the integrated loudness (BS.1770) of the stored waveform, None where the standard defines none
    (silence, or shorter than 0.4 s). `clipped_samples` counts samples that
    normalization had to limit. `sha256` is of the file's bytes.
    """

    address: str
    prompt: str
    seed: int
    seconds: float
    samples: int
    sample_rate: int
    channels: int
    format: str
    content_type: str
    bytes: int
    sha256: str
    loudness_lufs: float | None
    peak: float
    clipped_samples: int


@dataclass(frozen=True)
class GenerationResult:
    """The answer to one request. `real_time_factor` is compute seconds per second of audio."""

    job_id: str
    clips: tuple[Clip, ...]
    prompt: str
    seed: int
    seconds: float
    model: str
    licence: str
    engine: str
    device: str
    precision: str
    steps: int
    timings: Timings
    notes: tuple[str, ...] = field(default=())
    manifest: str | None = None
    """The address of the JSON file beside the clips, where there is one."""
    start: Mapping[str, float] | None = None
    """Of the first result of a process: seconds from its start to the end of each phase."""

    @property
    def real_time_factor(self) -> float:
        """Below 1 is faster than real time; variations count as audio made."""
        return self.timings.total / (self.seconds * len(self.clips))

    def to_mapping(self) -> dict[str, Any]:
        """The result as plain JSON types."""
        mapping = asdict(self)
        mapping["clips"] = [asdict(clip) for clip in self.clips]
        mapping["notes"] = list(self.notes)
        mapping["timings"] = asdict(self.timings) | {"total": self.timings.total}
        mapping["real_time_factor"] = self.real_time_factor
        return mapping
