"""Separate music with Demucs in ONNX Runtime, without PyTorch.

The file has the form that the package demucs-onnx exports: one input (1, channels, samples) at
44.1 kHz, one output (1, stems, channels, samples). The spectra are computed within the network.

Source: Rouard et al. 2023, "Hybrid Transformers for Music Source Separation". Overlapping segments
are faded into one another, as in Demucs.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicgen.audio.pcm import Pcm
from musicgen.errors import MissingDependency, SettingsError
from musicgen.process.resources import cpu_quota

EXTENSION = ".onnx"
SEGMENT_MAX_SAMPLES = 60 * 44_100
_SOURCES = ("drums", "bass", "other", "vocals", "guitar", "piano")
"""Order of the stems of htdemucs, which has the first four, and of htdemucs_6s."""
_OVERLAP = 0.25


class OnnxDemucs:
    """Demucs model in an ONNX file."""

    samplerate = 44_100

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Load the file. Raises: `MissingDependency`, `SettingsError` for another kind of file."""
        try:
            import onnxruntime
        except ImportError:
            raise MissingDependency("onnxruntime", "Making stems", "stems") from None

        if not path.is_file():
            raise _refuse(path, "is not an existing file")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or cpu_quota()
        providers = ["CPUExecutionProvider"]
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        # ONNX Runtime's errors have no common class.
        except Exception as error:
            raise _refuse(path, f"cannot be loaded: {error}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shapes = [value.shape for value in (*inputs, *outputs)]
        if len(inputs) != 1 or not outputs or not _is_separator(shapes[0], shapes[1]):
            problem = "must have an input (1, 2, samples) and an output (1, 4 or 6, 2, samples)"
            raise _refuse(path, f"{problem}, not {shapes}")
        self._input, self._output = inputs[0].name, outputs[0].name
        _, self.audio_channels, self._segment = shapes[0]
        self.sources = _SOURCES[: shapes[1][1]]

    def separate(self, sound: Pcm) -> dict[str, Pcm]:
        """Return the stems of `sound` (samples, channels), each of its shape."""
        # Demucs expects a mean of 0 and a deviation of 1 in the whole recording.
        mono = sound.mean(axis=1)
        mean, scale = float(mono.mean()), float(mono.std()) or 1.0
        normal = ((sound - mean) / scale).T.astype(np.float32)
        stems = self._join_segments(normal) * scale + mean / len(self.sources)
        return dict(zip(self.sources, stems.transpose(0, 2, 1), strict=True))

    def _join_segments(self, sound: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the stems (stems, channels, samples) of `sound` (channels, samples)."""
        total = sound.shape[1]
        stems = np.zeros((len(self.sources), *sound.shape), np.float32)
        weights = np.zeros(total, np.float32)
        window = _build_window(self._segment)
        stride = max(1, self._segment - math.floor(self._segment * _OVERLAP))
        # The last segment begins earlier than its place, and is not padded unless it is alone.
        last = max(0, total - self._segment)
        for start in sorted({*range(0, last, stride), last}):
            part = sound[:, start : start + self._segment]
            length = part.shape[1]
            padded = np.pad(part, ((0, 0), (0, self._segment - length)))[None]
            found = self._session.run([self._output], {self._input: padded})[0][0]
            stems[..., start : start + length] += found[..., :length] * window[:length]
            weights[start : start + length] += window[:length]
        return np.asarray(stems / weights, np.float32)


def _is_separator(given: list[Any], made: list[Any]) -> bool:
    if len(given) != 3 or len(made) != 4 or not all(isinstance(size, int) for size in given[1:]):
        return False
    _, channels, samples = given
    is_sized = channels in (1, 2) and 0 < samples <= SEGMENT_MAX_SAMPLES
    return is_sized and made[1] in (4, 6) and made[2:] == [channels, samples]


def _build_window(segment: int) -> NDArray[np.float32]:
    """Return weights that fall to both ends, above zero everywhere."""
    ramp = np.arange(1, segment // 2 + 1, dtype=np.float32)
    half = np.concatenate([ramp, np.full(segment - 2 * len(ramp), segment // 2 + 1, np.float32)])
    window = np.concatenate([half, ramp[::-1]])
    return np.asarray(window / window.max(), np.float32)


def _refuse(path: Path, problem: str) -> SettingsError:
    return SettingsError("MUSICGEN_SEPARATION", f"{path.name} {problem}")
