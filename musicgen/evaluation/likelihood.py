"""Likelihood of given music under a model, with its own prompt and with others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicgen.audio.decode import read_audio, to_channels
from musicgen.audio.resample import resample
from musicgen.engine.interface import Pcm
from musicgen.errors import InvalidInputAudio

Score = Callable[[str, Pcm], NDArray[np.float64]]
"""Maps a prompt and a clip to nats for each token, by codebook."""
SECONDS_AT_ONCE = 30.0
"""Length of MusicGen's training clips."""
_Z = 1.959964


@dataclass(frozen=True)
class DescribedClip:
    """A clip (samples, channels) at the model's rate, and the prompt describing it."""

    prompt: str
    pcm: Pcm


@dataclass(frozen=True)
class Nats:
    """Nats for each token: mean over clips, its 95 % interval, and mean of each codebook."""

    mean: float
    interval: tuple[float, float]
    codebooks: tuple[float, ...]


@dataclass(frozen=True)
class Likelihood:
    """Negative log-likelihood of music; lower is better.

    The model uses the prompt if `own_prompt` is lower than `no_prompt`, and understands it if
    `own_prompt` is lower than `another_prompt`.
    """

    clips: int
    own_prompt: Nats
    no_prompt: Nats
    another_prompt: Nats

    def to_mapping(self) -> dict[str, Any]:
        """Convert to plain JSON types."""
        return asdict(self)


def read_music(folder: Path, rate: int, channels: int) -> list[DescribedClip]:
    """Read described clips from a folder: each prompt NAME.txt with its audio file NAME.*.

    Clips are converted to `rate` Hz and `channels`.

    Raises: `InvalidInputAudio` for fewer than two clips, a prompt without audio, or an unreadable
    file.
    """
    music = []
    for text in sorted(folder.glob("*.txt")):
        sound = next((p for p in sorted(folder.glob(f"{text.stem}.*")) if p != text), None)
        if sound is None:
            raise InvalidInputAudio(
                "music", "needs an audio file with the name of each prompt", value=text
            )
        pcm, stored_rate = read_audio(sound, max_seconds=SECONDS_AT_ONCE)
        pcm = resample(to_channels(pcm, channels), stored_rate, rate)
        music.append(DescribedClip(text.read_text(encoding="utf-8").strip(), pcm))
    if len(music) < 2:
        raise InvalidInputAudio(
            "music", "needs two or more pairs of NAME.wav and NAME.txt", value=folder
        )
    return music


def measure_likelihood(
    music: list[DescribedClip], score: Score, on_progress: Callable[[int, int], None]
) -> Likelihood:
    """Measure the likelihood of each clip with its own, no, and another clip's prompt.

    `on_progress`: called with the number of finished clips and of all clips.
    """
    own, none, other = [], [], []
    for index, clip in enumerate(music):
        own.append(score(clip.prompt, clip.pcm))
        none.append(score("", clip.pcm))
        other.append(score(music[index - 1].prompt, clip.pcm))
        on_progress(index + 1, len(music))
    return Likelihood(len(music), _nats(own), _nats(none), _nats(other))


def _nats(clips: list[NDArray[np.float64]]) -> Nats:
    table = np.stack(clips)
    means = table.mean(axis=1)
    half = _Z * float(means.std(ddof=1)) / len(means) ** 0.5
    mean = float(means.mean())
    return Nats(mean, (mean - half, mean + half), tuple(table.mean(axis=0).tolist()))
