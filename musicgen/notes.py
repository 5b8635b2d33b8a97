"""Notes on a result: facts useful to a caller without asking, each with a stable code.

A note is its English text. Its `code` and `values` are for programs, such as a page in another
language.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from musicgen.errors.coded_text import CodedText

TEXTS: Mapping[str, str] = MappingProxyType(
    {
        "almost_silent": "the clip is almost silent: its level is unchanged",
        "beyond_full_scale": "samples beyond full scale: {count}. Integer formats limit them",
        "bitrate_too_low": "the file is quieter than asked for: at this bitrate the codec keeps "
        "too little of the sound",
        "credentials_lost": "the content credentials of the input audio could not be kept",
        "credentials_too_large": "the content credentials of the input audio are too large to keep",
        "credentials_unsupported": "ogg and opus cannot carry content credentials; wav, flac and "
        "mp3 can",
        "demo": "the demo model is a toy: it plays short synthetic pieces, not real music",
        "from_tokens": "continued from the tokens that the clip carries",
        "inaudible": "the whole clip is inaudible by BS.1770: its level is unchanged",
        "loop_gap": "players of this format may pause between rounds of a loop: wav does not",
        "loudness_missed": "the loudness is {level} LUFS: for more, the limiter would have to "
        "flatten the music",
        "no_loudness": "a clip under {seconds} s has no loudness: scaled by its RMS",
        "out_of_phase": "the channels cancel in mono: RMS measured over each channel",
        "rms_missed": "the RMS is {level} dBFS: for more, the limiter would have to flatten the "
        "music",
        "separated": "the melody was taken from the vocals and other instruments, without drums "
        "and bass",
        "silent": "the clip is silent",
        "stream_credentials": "the live stream has no content credentials; the stored clip has",
        "stream_level": "the stream has the model's own level; the stored clip is normalized",
        "whole_mix": "the melody was taken from the whole mix, without source separation",
    }
)
"""English texts by code. A value stands in braces."""


class ResultNote(CodedText):
    """English text of a note, with the `code` of its template and the `values` in it."""

    texts = TEXTS
    values: Mapping[str, float]


def describe_notes(notes: Iterable[str]) -> list[dict[str, Any]]:
    """Return code, values and text of each note; a text without a code has `code` None."""
    return [
        {
            "code": note.code if isinstance(note, ResultNote) else None,
            "values": dict(note.values) if isinstance(note, ResultNote) else {},
            "text": str(note),
        }
        for note in notes
    ]
