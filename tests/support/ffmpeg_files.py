"""Files as other programs make them, and ffmpeg's reading of any file, both by PyAV."""

from __future__ import annotations

import io
import struct
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


def write_with_ffmpeg(kind: str, pcm: Pcm, rate: int, **options: str) -> bytes:
    """A file of one of `KINDS`. `options`: those of ffmpeg's muxer."""
    container_name, codec = KINDS[kind]
    target = io.BytesIO()
    with av.open(target, "w", format=container_name, options=options) as container:
        layout = "stereo" if pcm.shape[1] == 2 else "mono"
        stream = container.add_stream(codec, rate=rate, layout=layout)
        if codec == "aac":
            stream.bit_rate = 256_000
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


def add_itunes_gapless(m4a: bytes, delay: int, samples: int) -> bytes:
    """An M4A with the comment `iTunSMPB`, for a file that ends with its header."""
    text = f" 00000000 {delay:08X} 00000000 {samples:016X} 00000000"
    mean = _box(b"mean", bytes(4) + b"com.apple.iTunes")
    data = _box(b"data", struct.pack(">II", 1, 0) + text.encode())
    comment = _box(b"----", mean + _box(b"name", bytes(4) + b"iTunSMPB") + data)
    handler = _box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    tags = _box(b"udta", _box(b"meta", bytes(4) + handler + _box(b"ilst", comment)))
    at = m4a.rindex(b"moov") - 4
    size = int.from_bytes(m4a[at : at + 4], "big")
    assert at + size == len(m4a), "the header is not at the end"
    return m4a[:at] + struct.pack(">I", size + len(tags)) + m4a[at + 4 :] + tags


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content
