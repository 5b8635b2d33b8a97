"""Progress and result of a request. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from musicgen.notes import describe_notes


@dataclass(frozen=True)
class Progress:
    """Progress of a request: `done` of `total` decode steps.

    It never decreases. `audio` holds the new bytes of each clip when the request is streamed.
    """

    done: int
    total: int
    audio: tuple[bytes, ...] = ()

    @property
    def fraction(self) -> float:
        """Progress from 0 to 1."""
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
    parts: float = 0.0
    """Stems and notes."""
    store: float = 0.0
    waiting: float = 0.0
    """In the queue for a place in the batch; not part of `total`."""

    @property
    def total(self) -> float:
        """Sum of all phases, without waiting."""
        made = self.text + self.audio_prompt + self.decode + self.codec
        return made + self.finish + self.parts + self.store


@dataclass(frozen=True)
class ClipPart:
    """Further file of a clip: a stem by its name (drums, bass), or its notes as "midi"."""

    name: str
    address: str
    content_type: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Clip:
    """Stored clip of one variation.

    `prompt` is the prompt of the model; prompts of sections are concatenated. `loudness_lufs` is
    the integrated loudness (BS.1770) of the stored waveform, None where the standard defines none
    (silence, or shorter than 0.4 s). `peak` is that of its samples, where 1 is full scale;
    `true_peak_dbtp` that of the waveform between them, None for silence. `clipped_samples` counts
    those beyond full scale, which only the strategy "none" leaves; a limiter cuts none. `sha256` is
    the hash of the file. `parts` are its stems and notes, if requested. `samples` and `sample_rate`
    are those of the file, which is at 48 kHz for opus. The levels of a lossy file are those of the
    decoded one, except with "none".
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
    true_peak_dbtp: float | None = None
    parts: tuple[ClipPart, ...] = ()


@dataclass(frozen=True)
class GenerationResult:
    """Result of one request. `real_time_factor` is compute seconds per second of audio."""

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
    """Address of the JSON file beside the clips, if any."""
    start: Mapping[str, float] | None = None
    """Only in the first result of a process: seconds from its start to the end of each phase."""

    @property
    def real_time_factor(self) -> float:
        """Compute seconds per second of audio of all clips; below 1 is faster than real time."""
        return self.timings.total / (self.seconds * len(self.clips))

    def to_mapping(self) -> dict[str, Any]:
        """Return the result as plain JSON types."""
        mapping = asdict(self)
        mapping["clips"] = [asdict(clip) for clip in self.clips]
        mapping["notes"] = [str(note) for note in self.notes]
        mapping["note_details"] = describe_notes(self.notes)
        mapping["timings"] = asdict(self.timings) | {"total": self.timings.total}
        mapping["real_time_factor"] = self.real_time_factor
        return mapping
