"""Transcribe music with the model of basic-pitch, in ONNX Runtime.

Source: Bittner et al. 2022, "A Lightweight Instrument-Agnostic Model for Polyphonic Note
Transcription and Multipitch Estimation". The model file (230 kB, Apache-2.0) is in the wheel of
basic-pitch. The package itself is not imported: it asks for TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicgen.audio.decode import to_channels
from musicgen.audio.pcm import Pcm
from musicgen.audio.resample import resample
from musicgen.midi.notes import Note, find_notes
from musicgen.midi.packages import check_installed, find_model

MODEL_RATE = 22_050
HOP_SAMPLES = 256
FRAMES_PER_SECOND = MODEL_RATE / HOP_SAMPLES
_WINDOW_SAMPLES, _WINDOW_FRAMES = 43_844, 172
_MARGIN_FRAMES = 15
"""Frames at both ends of a window, which hear too little around them."""
_STRIDE_FRAMES = _WINDOW_FRAMES - 2 * _MARGIN_FRAMES
_WINDOWS_AT_ONCE = 4
_ONSETS, _SOUNDING = "StatefulPartitionedCall:2", "StatefulPartitionedCall:1"


def transcribe(pcm: Pcm, sample_rate: int) -> list[Note]:
    """Return the notes of `pcm` (samples, channels); `FRAMES_PER_SECOND` converts their times.

    Raises: `MissingDependency`.
    """
    check_installed()
    mono = resample(to_channels(pcm, 1), sample_rate, MODEL_RATE)[:, 0]
    frames = -(-len(mono) // HOP_SAMPLES)
    parts = [_run(windows) for windows in _cut_windows(mono, frames)]
    onsets, sounding = (np.concatenate(each)[:frames] for each in zip(*parts, strict=True))
    return find_notes(onsets, sounding)


def _cut_windows(mono: NDArray[np.float32], frames: int) -> Iterator[NDArray[np.float32]]:
    """Yield batches (windows, samples, 1); the inner frames of the windows follow one another."""
    stride, margin = _STRIDE_FRAMES * HOP_SAMPLES, _MARGIN_FRAMES * HOP_SAMPLES
    starts = [at * stride - margin for at in range(max(1, -(-frames // _STRIDE_FRAMES)))]
    for at in range(0, len(starts), _WINDOWS_AT_ONCE):
        batch = starts[at : at + _WINDOWS_AT_ONCE]
        windows = np.zeros((len(batch), _WINDOW_SAMPLES, 1), np.float32)
        for window, start in zip(windows, batch, strict=True):
            sound = mono[max(0, start) : start + _WINDOW_SAMPLES, None]
            before = max(0, -start)
            window[before : before + len(sound)] = sound
        yield windows


def _run(windows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    session = _open_session()
    name = session.get_inputs()[0].name
    onsets, sounding = session.run([_ONSETS, _SOUNDING], {name: windows})
    inner = slice(_MARGIN_FRAMES, _WINDOW_FRAMES - _MARGIN_FRAMES)
    pitches = onsets.shape[2]
    return onsets[:, inner].reshape(-1, pitches), sounding[:, inner].reshape(-1, pitches)


@cache
def _open_session() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # A server makes music at the same time.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = find_model()
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
