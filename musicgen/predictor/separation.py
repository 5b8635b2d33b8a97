"""Extract the melody of a recording without drums and bass, as in the models' training.

Source: Copet et al. 2023, section 2.3: Demucs separates a recording, and the melody is read from
vocals and other instruments together. The package `demucs` is an extra. Without it, or without its
weights, the melody is read from the whole recording, and a note of the result says so.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from musicgen.audio.decode import to_channels
from musicgen.audio.pcm import Pcm
from musicgen.audio.resample import resample
from musicgen.errors import MissingDependency, SettingsError
from musicgen.process.lazy_torch import import_torch

MELODY_STEMS = ("vocals", "other")
CACHED_MELODIES = 4
"""Melodies of the last files stay in memory, so another take of one starts at once."""
OFF, AUTO = "off", "auto"
DEFAULT_MODEL = "htdemucs"

logger = logging.getLogger(__name__)


class MelodySeparator:
    """Source separation with the Demucs model `model`: a name, or a path FOLDER/NAME.

    "auto" is the default model where the package is installed, "off" no separation. The model is
    loaded at the first melody. Threads are safe; files are separated one at a time.
    """

    def __init__(self, model: str, device: str) -> None:
        self._model, self._device = model, device
        self._lock = threading.Lock()
        self._separator: Any = None
        self._unavailable = model == OFF or (model == AUTO and find_spec("demucs") is None)
        self._melodies: OrderedDict[str, Pcm] = OrderedDict()

    def extract_melody(self, pcm: Pcm, sample_rate: int) -> Pcm | None:
        """Return the melody (samples, 1) of `pcm` (samples, channels), at the same `sample_rate`.

        Returns None without source separation.
        Raises: `MissingDependency` or `SettingsError` where a model is named but not available.
        """
        with self._lock:
            separator = self._load()
            if separator is None:
                return None
            key = hashlib.sha256(f"{sample_rate} {pcm.shape}".encode() + pcm.tobytes()).hexdigest()
            if key not in self._melodies:
                self._melodies[key] = _separate(separator, pcm, sample_rate)
                while len(self._melodies) > CACHED_MELODIES:
                    self._melodies.popitem(last=False)
            self._melodies.move_to_end(key)
            return self._melodies[key]

    def separate(self, pcm: Pcm, sample_rate: int) -> dict[str, Pcm]:
        """Return the stems of `pcm` by name, each of its shape and `sample_rate`.

        Raises: `MissingDependency` or `SettingsError` without the model.
        """
        with self._lock:
            separator = self._load()
            if separator is None:
                raise MissingDependency("demucs", "stems", "demucs", "Its weights are needed too.")
            names = separator.model.sources
            stems = _separate_stems(separator, pcm, sample_rate, names)
            return {name: to_channels(stem, pcm.shape[1]) for name, stem in stems.items()}

    def _load(self) -> Any:
        if self._separator is not None or self._unavailable:
            return self._separator
        if find_spec("demucs") is None:
            raise MissingDependency("demucs", f"MUSICGEN_SEPARATION={self._model}", "demucs")
        import_torch("demucs")
        from demucs.api import Separator

        name, repository = (
            (DEFAULT_MODEL, None) if self._model == AUTO else _split_model(self._model)
        )
        try:
            # Without random shifts, so the same file always gives the same melody.
            self._separator = Separator(
                name, repository, device=self._device, shifts=0, progress=False
            )
        # demucs raises SystemExit for an unknown model.
        except (Exception, SystemExit) as error:
            if self._model != AUTO:
                raise SettingsError(
                    "MUSICGEN_SEPARATION",
                    "must be auto, off or a model of Demucs",
                    value=self._model,
                    advice=f"Demucs: {error}.",
                ) from error
            logger.warning(
                "source separation is off: demucs could not load its model %s: %s", name, error
            )
            self._unavailable = True
        return self._separator


def _split_model(model: str) -> tuple[str, Path | None]:
    path = Path(model)
    return (path.name, path.parent) if path.parent.is_dir() and "/" in model else (model, None)


def _separate(separator: Any, pcm: Pcm, sample_rate: int) -> Pcm:
    """Return the melody (samples, 1)."""
    stems = _separate_stems(separator, pcm, sample_rate, MELODY_STEMS)
    return to_channels(np.sum([*stems.values()], axis=0, dtype=np.float32), 1)


def _separate_stems(
    separator: Any, pcm: Pcm, sample_rate: int, names: Sequence[str]
) -> dict[str, Pcm]:
    """Return the stems `names`, with the channels of the model."""
    import torch

    rate = separator.samplerate
    sound = resample(to_channels(pcm, separator.audio_channels), sample_rate, rate)
    # demucs divides by the level, and the level of silence is zero.
    if not sound.any():
        silence = np.zeros((len(pcm), separator.audio_channels), np.float32)
        return dict.fromkeys(names, silence)
    with torch.inference_mode():
        waveform = torch.from_numpy(np.ascontiguousarray(sound.T))
        _, stems = separator.separate_tensor(waveform)
    arrays = {name: stems[name].cpu().numpy().T for name in names}
    return {
        name: resample(np.ascontiguousarray(stem, np.float32), rate, sample_rate)[: len(pcm)]
        for name, stem in arrays.items()
    }
