"""EnCodec decoding of finished clips, and of streams during generation."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from musicgen.engine.backend import Backend, Codes, DiffusionDecoder
from musicgen.engine.device_thread import DeviceThread
from musicgen.engine.interface import DecodeProgress, GenerationJob, Pcm
from musicgen.engine.sequence import JobRun
from musicgen.process.stopwatch import Stopwatch


class StreamDecoder:
    """Streaming EnCodec decoder for all clips of a job.

    Its state carries over from window to window, so a long clip has no seams.
    """

    def __init__(self, backend: Backend, clips: int, thread: DeviceThread) -> None:
        self._streams = [backend.open_stream() for _ in range(clips)]
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
            self._run(stream.push, codes, is_last)
            for stream, codes in zip(self._streams, chunk, strict=True)
        )
        self._pieces.append(piece)
        self.seconds += watch.lap()
        return piece

    def concatenate(self) -> tuple[Pcm, ...]:
        """Return the whole PCM (samples, channels) of each clip."""
        return tuple(np.concatenate(pieces) for pieces in zip(*self._pieces, strict=True))


def decode_waveform(backend: Backend, codes: Codes, thread: DeviceThread) -> Pcm:
    """Decode the codes (codebooks, frames) of one clip to PCM (samples, channels).

    It runs in pieces, so other work can use the device thread between them.
    """
    pieces, decoded = backend.decode(codes), []
    while (piece := thread.run(next, pieces, None)) is not None:
        decoded.append(piece)
    return np.concatenate(decoded)


def diffuse(
    backend: Backend,
    decoder: DiffusionDecoder,
    job: GenerationJob,
    codes: Codes,
    thread: DeviceThread,
) -> Generator[DecodeProgress, None, tuple[Pcm, ...]]:
    """Decode the codes (clips, codebooks, frames) of a job by diffusion.

    Yields its own steps after each; other work can use the device thread between them. A clip's
    noise depends on its seed alone.
    """
    clips: list[Pcm] = []
    total = len(job.rows) * decoder.count_steps(job.frames)
    done = 0
    for row, clip in zip(job.rows, codes, strict=True):
        steps = decoder.decode(clip, row.seed)
        while True:
            with backend.translate_errors():
                pcm = thread.run(next, steps)
            if pcm is not None:
                clips.append(pcm)
                break
            done += 1
            yield DecodeProgress(done, total)
    return tuple(clips)
