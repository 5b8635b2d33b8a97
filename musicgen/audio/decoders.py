"""Choose the decoder of a file: libsndfile where it reads the container right, otherwise ffmpeg."""

from __future__ import annotations

from pathlib import Path

from musicgen.audio.sndfile_sound import SndfileSound
from musicgen.audio.sound import Sound, require_ffmpeg
from musicgen.audio.sound_layout import SoundLayout, find_layout


def open_sound(path: Path, layout: SoundLayout | None = None) -> Sound:
    """Open a file in this process, which must be one that may be killed alone if ffmpeg reads it.

    Raises: `SoundProblem`; OSError.
    """
    layout = layout or find_layout(path)
    if not layout.demuxer:
        return SndfileSound(path, layout)
    require_ffmpeg(layout.name)
    from musicgen.audio.ffmpeg_sound import FfmpegSound

    return FfmpegSound(path, layout)
