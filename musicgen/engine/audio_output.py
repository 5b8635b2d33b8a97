"""From the codes of clips to their samples, whole or while later codes are still being made."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from musicgen.engine.device_thread import DeviceThread
from musicgen.engine.interface import Pcm
from musicgen.engine.sequence import JobRun
from musicgen.model.codec_stream import CodecStream, pieces_of
from musicgen.model.musicgen import MusicGen
from musicgen.process.stopwatch import Stopwatch


class Waveforms:
    """The samples of all clips of a stream; its windows are one sound."""

    def __init__(self, model: MusicGen, clips: int, thread: DeviceThread) -> None:
        self._streams = [CodecStream(model.codec, model.config.channels) for _ in range(clips)]
        self._run = thread.run
        self._frames = 0
        self._pieces: list[tuple[Pcm, ...]] = []
        self.seconds = 0.0

    def advance(self, run: JobRun) -> tuple[Pcm, ...]:
        """Decodes what has become known since the last time."""
        watch = Stopwatch()
        new, self._frames = run.codes[:, :, self._frames : run.known], run.known
        is_last = run.known == run.codes.shape[2]
        piece = tuple(
            _samples(self._run(stream.push, row, last=is_last))
            for stream, row in zip(self._streams, new, strict=True)
        )
        self._pieces.append(piece)
        self.seconds += watch.lap()
        return piece

    def joined(self) -> tuple[Pcm, ...]:
        return tuple(np.concatenate(pieces) for pieces in zip(*self._pieces, strict=True))


def waveform(model: MusicGen, codes: Tensor, thread: DeviceThread) -> Pcm:
    """Codes (codebooks, frames) of one clip to PCM (samples, channels), in pieces between which
    others have the thread."""
    pieces = pieces_of(model.codec, codes, model.config.channels)
    made = iter(lambda: thread.run(next, pieces, None), None)
    return np.concatenate([_samples(piece) for piece in made])


def _samples(sound: Tensor) -> Pcm:
    return sound.t().float().cpu().contiguous().numpy()
