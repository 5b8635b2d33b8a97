"""Loudness and true peak by ffmpeg, for comparison."""

from __future__ import annotations

import av
import av.filter
import numpy as np

from musicgen.audio.pcm import Pcm


def measure_ebur128(pcm: Pcm, rate: int) -> tuple[float, float]:
    """Return integrated loudness (LUFS) and true peak (dBTP) of `pcm` (samples, channels)."""
    graph = av.filter.Graph()
    layout = "mono" if pcm.shape[1] == 1 else "stereo"
    source = graph.add_abuffer(sample_rate=rate, format="flt", layout=layout)
    meter = graph.add("ebur128", "peak=true:metadata=1:framelog=quiet")
    sink = graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    # The meter reports after each whole tenth of a second.
    pcm = np.pad(pcm, ((0, -len(pcm) % (rate // 10)), (0, 0)))
    frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), format="flt", layout=layout)
    frame.sample_rate = rate
    graph.push(frame)
    graph.push(None)
    loudness, peaks = 0.0, [1e-9]
    while True:
        try:
            found = graph.pull().metadata
        except (av.EOFError, av.BlockingIOError):
            break
        loudness = float(found["lavfi.r128.I"])
        peaks += [float(value) for key, value in found.items() if "true_peaks_ch" in key]
    return loudness, float(20 * np.log10(max(peaks)))
