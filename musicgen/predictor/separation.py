"""Separate recordings with Demucs: the stems of a clip, or the melody without drums and bass.

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
from musicgen.errors import CheckpointNotFound, MissingDependency, SettingsError
from musicgen.predictor.onnx_demucs import EXTENSION, OnnxDemucs
from musicgen.process.lazy_torch import import_torch

MELODY_STEMS = ("vocals", "other")
CACHED_MELODIES = 4
"""Melodies of the last files stay in memory, so another take of one starts at once."""
SEPARATION = "MUSICGEN_SEPARATION"
OFF, AUTO = "off", "auto"
DEFAULT_MODEL = "htdemucs"
_WRAPPED_SECONDS = 2.0
"""Music heard before and after a loop, as it is when it repeats."""

logger = logging.getLogger(__name__)


class MelodySeparator:
    """Source separation with the Demucs model `model`: a name, a path FOLDER/NAME, or FILE.onnx.

    "auto" is the default model where the package is installed, "off" no separation. The model is
    loaded at the first melody. Threads are safe; files are separated one at a time.
    """

    def __init__(self, model: str, device: str) -> None:
        self._model, self._device = model, device
        self._lock = threading.Lock()
        self._separator: Any = None
        self._unavailable = model == OFF or (model == AUTO and find_spec("demucs") is None)
        self._failed_to_load = False
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

    def find_missing(self) -> MissingDependency | SettingsError | CheckpointNotFound | None:
        """Return why there are no stems, or None. Loads nothing."""
        if self._model == OFF:
            return SettingsError(
                SEPARATION, f"is {OFF}", advice=f"Set it to {AUTO} or a model of Demucs."
            )
        if self._failed_to_load:
            return CheckpointNotFound(
                f"Demucs could not load its model {DEFAULT_MODEL}: its weights are in no cache "
                "here, or cannot be downloaded. Start once with a network, or set "
                f"{SEPARATION} to a local model."
            )
        if self._model.endswith(EXTENSION):
            is_missing = find_spec("onnxruntime") is None
            return MissingDependency("onnxruntime", "Making stems", "stems") if is_missing else None
        if find_spec("demucs") is not None:
            return None
        if self._model == AUTO:
            return MissingDependency(
                "demucs", "Making stems", "demucs", "Its weights are needed too."
            )
        return MissingDependency("demucs", f"{SEPARATION}={self._model}", "demucs")

    def list_stems(self) -> tuple[str, ...]:
        """Load the model, and return the names of its stems. Raises: the errors of `separate`."""
        with self._lock:
            return _list_sources(self._require())

    def separate(self, pcm: Pcm, sample_rate: int, *, is_loop: bool = False) -> dict[str, Pcm]:
        """Return the stems of `pcm` by name, each of its shape and `sample_rate`.

        Raises: `MissingDependency`, `SettingsError` or `CheckpointNotFound` without the model.
        """
        wrapped = round(_WRAPPED_SECONDS * sample_rate) if is_loop else 0
        around = np.pad(pcm, ((wrapped, wrapped), (0, 0)), mode="wrap") if wrapped else pcm
        with self._lock:
            separator = self._require()
            stems = _separate_stems(separator, around, sample_rate, _list_sources(separator))
        return {
            name: to_channels(stem[wrapped : wrapped + len(pcm)], pcm.shape[1])
            for name, stem in stems.items()
        }

    def _require(self) -> Any:
        separator, missing = self._load(), self.find_missing()
        if missing is not None:
            raise missing
        return separator

    def _load(self) -> Any:
        if self._separator is not None or self._unavailable:
            return self._separator
        if self._model.endswith(EXTENSION):
            self._separator = OnnxDemucs(Path(self._model))
            return self._separator
        if (missing := self.find_missing()) is not None:
            raise missing
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
                    SEPARATION,
                    "must be auto, off or a model of Demucs",
                    value=self._model,
                    advice=f"Demucs: {error}.",
                ) from error
            logger.warning(
                "source separation is off: demucs could not load its model %s: %s", name, error
            )
            self._unavailable = self._failed_to_load = True
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
    rate = separator.samplerate
    sound = resample(to_channels(pcm, separator.audio_channels), sample_rate, rate)
    # demucs divides by the level, and the level of silence is zero.
    if not sound.any():
        silence = np.zeros((len(pcm), separator.audio_channels), np.float32)
        return dict.fromkeys(names, silence)
    arrays = _run(separator, sound)
    return {
        name: resample(np.ascontiguousarray(arrays[name], np.float32), rate, sample_rate)[
            : len(pcm)
        ]
        for name in names
    }


def _run(separator: Any, sound: Pcm) -> dict[str, Pcm]:
    if isinstance(separator, OnnxDemucs):
        return separator.separate(sound)
    import torch

    with torch.inference_mode():
        waveform = torch.from_numpy(np.ascontiguousarray(sound.T))
        _, stems = separator.separate_tensor(waveform)
    return {name: stem.cpu().numpy().T for name, stem in stems.items()}


def _list_sources(separator: Any) -> tuple[str, ...]:
    is_onnx = isinstance(separator, OnnxDemucs)
    return tuple(separator.sources if is_onnx else separator.model.sources)
