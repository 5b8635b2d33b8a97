"""How probable a model finds given music, with its own description and with others."""

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
"""A prompt and a clip to nats for each token, by codebook."""
SECONDS_AT_ONCE = 30.0
"""The longest clip that MusicGen was trained on."""
_Z = 1.959964


@dataclass(frozen=True)
class Described:
    """A clip (samples, channels) at the model's rate, and the prompt that describes it."""

    prompt: str
    pcm: Pcm


@dataclass(frozen=True)
class Nats:
    """For each token: the mean over clips, its 95 % interval, and the mean of each codebook."""

    mean: float
    interval: tuple[float, float]
    codebooks: tuple[float, ...]


@dataclass(frozen=True)
class Likelihood:
    """Negative log-likelihood; lower is better. The prompt tells something if `own_prompt` is
    lower than `no_prompt`, and the right thing if it is lower than `another_prompt`."""

    clips: int
    own_prompt: Nats
    no_prompt: Nats
    another_prompt: Nats

    def to_mapping(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


def read_music(folder: Path, rate: int, channels: int) -> list[Described]:
    """Each NAME.txt of `folder` is a prompt, the audio file NAME.* beside it what it describes.

    Clips are converted to `rate` Hz and `channels`.

    Raises: `InvalidInputAudio` where there is none, or one cannot be read.
    """
    music = []
    for text in sorted(folder.glob("*.txt")):
        sound = next((p for p in sorted(folder.glob(f"{text.stem}.*")) if p != text), None)
        if sound is None:
            raise InvalidInputAudio("music", str(text), "a text needs an audio file of its name")
        pcm, stored_rate = read_audio(sound, max_seconds=SECONDS_AT_ONCE)
        pcm = resample(to_channels(pcm, channels), stored_rate, rate)
        music.append(Described(text.read_text(encoding="utf-8").strip(), pcm))
    if len(music) < 2:
        raise InvalidInputAudio(
            "music", str(folder), "a folder with two or more pairs of NAME.wav and NAME.txt"
        )
    return music


def measure_likelihood(
    music: list[Described], score: Score, told: Callable[[int, int], None]
) -> Likelihood:
    """`told` is called with the clips done and all of them."""
    own, none, other = [], [], []
    for index, clip in enumerate(music):
        own.append(score(clip.prompt, clip.pcm))
        none.append(score("", clip.pcm))
        other.append(score(music[index - 1].prompt, clip.pcm))
        told(index + 1, len(music))
    return Likelihood(len(music), _nats(own), _nats(none), _nats(other))


def _nats(clips: list[NDArray[np.float64]]) -> Nats:
    table = np.stack(clips)
    means = table.mean(axis=1)
    half = _Z * float(means.std(ddof=1)) / len(means) ** 0.5
    mean = float(means.mean())
    return Nats(mean, (mean - half, mean + half), tuple(table.mean(axis=0).tolist()))
