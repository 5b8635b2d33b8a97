"""The tune of a recording without its drums and bass, as MusicGen's melody models learnt it.

Source: Copet et al. 2023, section 2.3: Demucs takes a recording apart, and the melody is read from
its vocals and its other instruments together. The package `demucs` is an extra; without it, or
without its weights, the melody is read from the whole recording, and the result says so.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from musicgen.audio.decode import to_channels
from musicgen.audio.pcm import Pcm
from musicgen.audio.resample import resample
from musicgen.errors import MissingDependency, SettingsError

TUNE = ("vocals", "other")
KEPT_TUNES = 4
"""Of the last files: who asks for another take of a melody need not wait for it again."""
OFF, AUTO = "off", "auto"
DEFAULT_MODEL = "htdemucs"

logger = logging.getLogger(__name__)


class Separation:
    """Takes melodies apart with the Demucs model `model`: a name, or the path of one in a folder,
    FOLDER/NAME. "auto" is the default one where the package is installed, "off" none.

    The model is loaded when the first melody comes. Safe for threads: one file at a time.
    """

    def __init__(self, model: str, device: str) -> None:
        self._model, self._device = model, device
        self._lock = threading.Lock()
        self._separator: Any = None
        self._unavailable = model == OFF or (model == AUTO and find_spec("demucs") is None)
        self._tunes: OrderedDict[str, Pcm] = OrderedDict()

    def tune_of(self, pcm: Pcm, sample_rate: int) -> Pcm | None:
        """(samples, 1) at `sample_rate` of `pcm` (samples, channels); None where nothing can take
        it apart.

        Raises: `MissingDependency`, `SettingsError` where a model was named and cannot be had.
        """
        with self._lock:
            separator = self._loaded()
            if separator is None:
                return None
            key = hashlib.sha256(f"{sample_rate} {pcm.shape}".encode() + pcm.tobytes()).hexdigest()
            if key not in self._tunes:
                self._tunes[key] = _tune(separator, pcm, sample_rate)
                while len(self._tunes) > KEPT_TUNES:
                    self._tunes.popitem(last=False)
            self._tunes.move_to_end(key)
            return self._tunes[key]

    def _loaded(self) -> Any:
        if self._separator is not None or self._unavailable:
            return self._separator
        if find_spec("demucs") is None:
            raise MissingDependency("demucs", f"MUSICGEN_SEPARATION={self._model}", "demucs")
        from demucs.api import Separator

        name, repository = (DEFAULT_MODEL, None) if self._model == AUTO else _named(self._model)
        try:
            # Without random shifts, so that the same file always gives the same tune.
            self._separator = Separator(
                name, repository, device=self._device, shifts=0, progress=False
            )
        # SystemExit is how demucs says that it has no such model.
        except (Exception, SystemExit) as error:
            if self._model != AUTO:
                raise SettingsError(
                    "MUSICGEN_SEPARATION", self._model, f"a model of demucs ({error})"
                ) from error
            logger.warning("no source separation: the weights of %s: %s", name, error)
            self._unavailable = True
        return self._separator


def _named(model: str) -> tuple[str, Path | None]:
    path = Path(model)
    return (path.name, path.parent) if path.parent.is_dir() and "/" in model else (model, None)


def _tune(separator: Any, pcm: Pcm, sample_rate: int) -> Pcm:
    import torch

    rate = separator.samplerate
    sound = resample(to_channels(pcm, separator.audio_channels), sample_rate, rate)
    # Silence has no scale, which is what it would be divided by.
    if not sound.any():
        return np.zeros((len(pcm), 1), np.float32)
    with torch.inference_mode():
        waveform = torch.from_numpy(np.ascontiguousarray(sound.T))
        _, stems = separator.separate_tensor(waveform)
        mixed = sum(stems[name] for name in TUNE).cpu().numpy().T
    tune = resample(to_channels(np.ascontiguousarray(mixed, np.float32), 1), rate, sample_rate)
    return tune[: len(pcm)]
