"""The sound of a request while it is being made: samples of the engine to bytes of a file."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing

from musicgen.audio.crossfade import Joint
from musicgen.audio.encode import encode
from musicgen.audio.live_encoder import LiveEncoder, check_live_format
from musicgen.audio.pcm import Pcm
from musicgen.audio.tags import AudioTags
from musicgen.engine.interface import Decoded, EngineOutput
from musicgen.request import AudioFormat, StreamForm
from musicgen.result import Progress


class ClipStream:
    """One clip of a stream; it is `samples` long, though the engine makes whole frames. `joint` is
    that of a continuation.

    The level is what the model made, limited to full scale: normalizing needs the whole clip.
    """

    def __init__(
        self,
        form: StreamForm,
        audio_format: AudioFormat,
        channels: int,
        samples: int,
        tags: AudioTags,
        joint: Joint | None = None,
    ) -> None:
        check_live_format(audio_format.output_format)
        self._audio_format = audio_format
        self._left = samples
        self._joint = joint
        self._tags = tags
        self._live = LiveEncoder(channels, audio_format, tags) if form == "joined" else None

    def push(self, pcm: Pcm) -> bytes:
        """What the next samples (samples, channels) become; without any there is nothing."""
        if self._joint is not None and len(pcm):
            pcm = self._joint.push(pcm)
        pcm = pcm[: self._left]
        if not len(pcm):
            return b""
        self._left -= len(pcm)
        if self._live is not None:
            return self._live.push(pcm, last=not self._left)
        return encode(pcm.clip(-1, 1), self._audio_format, self._tags)


def told(
    steps: Generator[Decoded, None, EngineOutput], streams: Sequence[ClipStream]
) -> Generator[Progress, None, EngineOutput]:
    """The engine's steps as a caller sees them; closing it closes them."""
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
