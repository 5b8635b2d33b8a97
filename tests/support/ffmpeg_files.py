"""Files as other programs make them, and ffmpeg's reading of any file, both by PyAV."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import lameenc
import numpy as np

from musicgen.audio.pcm import Pcm

KINDS = {
    "m4a": ("ipod", "aac"),
    "alac": ("ipod", "alac"),
    "mp4": ("mp4", "aac"),
    "mov": ("mov", "aac"),
    "aac": ("adts", "aac"),
    "webm": ("webm", "libopus"),
    "mka": ("matroska", "flac"),
    "oggflac": ("ogg", "flac"),
    "ogg-opus": ("ogg", "libopus"),
    "flac": ("flac", "flac"),
}
"""Container and codec of each kind, by ffmpeg's names."""


def decode_with_ffmpeg(data: bytes) -> tuple[Pcm, int]:
    """The samples (samples, channels) and the rate of a file, as ffmpeg gives them."""
    blocks, rate = [], 0
    with av.open(io.BytesIO(data)) as container:
        for frame in container.decode(audio=0):
            samples, rate = frame.to_ndarray(), frame.sample_rate
            if not frame.format.is_planar:
                samples = samples.reshape(-1, len(frame.layout.channels)).T
            if samples.dtype.kind == "i":
                samples = samples / 2.0 ** (8 * samples.dtype.itemsize - 1)
            blocks.append(samples.T.astype(np.float32))
    return np.concatenate(blocks), rate


def write_with_ffmpeg(kind: str, pcm: Pcm, rate: int) -> bytes:
    """A file of one of `KINDS`."""
    container_name, codec = KINDS[kind]
    target = io.BytesIO()
    with av.open(target, "w", format=container_name) as container:
        layout = "stereo" if pcm.shape[1] == 2 else "mono"
        stream = container.add_stream(codec, rate=rate, layout=layout)
        sample_format = stream.codec_context.codec.audio_formats[0].name
        whole = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm.T), "fltp", layout)
        whole.sample_rate, whole.pts, whole.time_base = rate, 0, Fraction(1, rate)
        resampler = av.AudioResampler(sample_format, layout, rate)
        fifo = av.AudioFifo()
        for frame in [*resampler.resample(whole), *resampler.resample(None)]:
            fifo.write(frame)
        while (
            frame := fifo.read(stream.codec_context.frame_size or 4096, partial=True)
        ) is not None:
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target.getvalue()


def write_mp3(pcm: Pcm, rate: int, variable: bool = True) -> bytes:
    """An MP3 as LAME writes it into a pipe: without a header that counts its frames."""
    encoder = lameenc.Encoder()
    encoder.set_in_sample_rate(rate)
    encoder.set_channels(pcm.shape[1])
    if variable:
        encoder.set_vbr(4)
    else:
        encoder.set_bit_rate(128)
    samples = np.rint(pcm.clip(-1, 1) * 32767).astype(np.int16)
    return bytes(encoder.encode(samples.tobytes()) + encoder.flush())
