"""EnCodec decoding of finished clips, and of streams during generation."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from musicgen.engine.device_thread import DeviceThread
from musicgen.engine.interface import Pcm
from musicgen.engine.sequence import JobRun
from musicgen.model.codec_stream import CodecStream, decode_pieces
from musicgen.model.musicgen import MusicGen
from musicgen.process.stopwatch import Stopwatch


class StreamDecoder:
    """Streaming EnCodec decoder for all clips of a job.

    Its state carries over from window to window, so a long clip has no seams.
    """

    def __init__(self, model: MusicGen, clips: int, thread: DeviceThread) -> None:
        self._streams = [CodecStream(model.codec, model.config.channels) for _ in range(clips)]
        self._run = thread.run
        self._frames = 0
        self._pieces: list[tuple[Pcm, ...]] = []
        self.seconds = 0.0

    def decode_new(self, run: JobRun) -> tuple[Pcm, ...]:
        """Decode the frames completed since the last call.

        Returns: new PCM (samples, channels) of each clip.
        """
        watch = Stopwatch()
        chunk, self._frames = run.codes[:, :, self._frames : run.known], run.known
        is_last = run.known == run.codes.shape[2]
        piece = tuple(
            _to_pcm(self._run(stream.push, codes, last=is_last))
            for stream, codes in zip(self._streams, chunk, strict=True)
        )
        self._pieces.append(piece)
        self.seconds += watch.lap()
        return piece

    def concatenate(self) -> tuple[Pcm, ...]:
        """Return the whole PCM (samples, channels) of each clip."""
        return tuple(np.concatenate(pieces) for pieces in zip(*self._pieces, strict=True))


def decode_waveform(model: MusicGen, codes: Tensor, thread: DeviceThread) -> Pcm:
    """Decode the codes (codebooks, frames) of one clip to PCM (samples, channels).

    It runs in pieces, so other work can use the device thread between them.
    """
    pieces = decode_pieces(model.codec, codes, model.config.channels)
    decoded = iter(lambda: thread.run(next, pieces, None), None)
    return np.concatenate([_to_pcm(piece) for piece in decoded])


def _to_pcm(samples: Tensor) -> Pcm:
    return samples.t().float().cpu().contiguous().numpy()
