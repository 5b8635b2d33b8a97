"""Stream a request: the engine's samples become bytes of a file while it generates."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace

from musicgen.audio.crossfade import Crossfade
from musicgen.audio.encode import encode
from musicgen.audio.limiter import LiveLimiter
from musicgen.audio.live_encoder import LiveEncoder, check_live_format
from musicgen.audio.lossy_fit import estimate_overshoot_db
from musicgen.audio.pcm import Pcm
from musicgen.audio.tags import AudioTags
from musicgen.engine.interface import DecodeProgress, EngineOutput
from musicgen.model.config import MusicGenConfig
from musicgen.predictor.prepare import PreparedJob
from musicgen.request import AudioFormat, GenerationRequest, StreamForm
from musicgen.result import Progress


class ClipStream:
    """Stream of one clip.

    It ends after `samples`, although the engine generates whole frames. `crossfade` belongs to a
    continuation. The level is the model's own, because normalizing needs the whole clip; a limiter
    keeps its true peak at `ceiling` (linear). None has no limiter: samples beyond full scale are
    cut. The limiter delays the sound by some milliseconds.
    """

    def __init__(
        self,
        form: StreamForm,
        audio_format: AudioFormat,
        channels: int,
        samples: int,
        tags: AudioTags,
        crossfade: Crossfade | None = None,
        ceiling: float | None = None,
    ) -> None:
        check_live_format(audio_format.output_format)
        self._limiter = None
        if ceiling is not None:
            ceiling *= 10 ** (-estimate_overshoot_db(audio_format, channels) / 20)
            self._limiter = LiveLimiter(channels, audio_format.rate, ceiling)
        self._audio_format = audio_format
        self._left = samples
        self._crossfade = crossfade
        self._tags = tags.without_loop()
        self._live = LiveEncoder(channels, audio_format, tags) if form == "joined" else None

    def push(self, pcm: Pcm) -> bytes:
        """Return the bytes of the next samples (samples, channels); no samples give no bytes."""
        if self._crossfade is not None and len(pcm):
            pcm = self._crossfade.push(pcm)
        pcm = pcm[: self._left]
        if not len(pcm):
            return b""
        self._left -= len(pcm)
        if self._limiter is not None:
            pcm = self._limiter.push(pcm, last=not self._left)
            if not len(pcm):
                return b""
        if self._live is not None:
            return self._live.push(pcm, last=not self._left)
        return encode(pcm.clip(-1, 1), self._audio_format, self._tags)


def report_progress(
    steps: Generator[DecodeProgress, None, EngineOutput], streams: Sequence[ClipStream]
) -> Generator[Progress, None, EngineOutput]:
    """Yield the engine's steps as progress with audio; closing closes the steps."""
    with closing(steps):
        while True:
            try:
                decoded = next(steps)
            except StopIteration as end:
                output: EngineOutput = end.value
                return output
            audio = tuple(
                stream.push(pcm) for stream, pcm in zip(streams, decoded.pcm, strict=False)
            )
            yield Progress(decoded.done, decoded.total, audio if any(audio) else ())


def open_streams(
    request: GenerationRequest,
    form: StreamForm,
    prepared: PreparedJob,
    config: MusicGenConfig,
    tags: Sequence[AudioTags],
) -> list[ClipStream]:
    """Open one stream for each clip. Raises: `UnknownFormat`."""
    rate = config.sample_rate
    # A stream keeps the model's own rate.
    audio_format = replace(request.audio_format, sample_rate=rate)
    samples = round(request.seconds * rate)
    has_limiter = request.normalization_strategy != "none"
    ceiling = 10 ** (request.true_peak_ceiling / 20) if has_limiter else None
    return [
        ClipStream(
            form,
            audio_format,
            config.channels,
            samples,
            tag,
            prepared.open_crossfade(rate),
            ceiling,
        )
        for tag in tags
    ]
