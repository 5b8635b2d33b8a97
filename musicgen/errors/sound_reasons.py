"""Reasons why a sound is refused, each with a stable code.

A reason is the problem of an `InvalidInputAudio`, an English phrase that follows the field's name.
Its `code` and `values` are for programs, such as a page in another language.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from musicgen.errors.reasons import Reason

SOUND_REASONS: Mapping[str, str] = MappingProxyType(
    {
        "a_form": "must be the audio file itself, not a form",
        "bad_rate": "must have a sample rate from {least} to {most} Hz",
        "changing": "changes its sample rate or channels",
        "codec": "holds the codec {codec}, which cannot be read",
        "damaged": "is damaged after {seconds:.2f} s",
        "damaged_mp3": "is damaged: a part of it is not MP3",
        "empty": "is an empty file",
        "empty_body": "must be the audio file itself, but is empty",
        "format": "has an unsupported format, {format}",
        "incomplete": "cannot be read to its end",
        "joined_sounds": "is joined of sounds with different sample rates or channels",
        "longer_than_header": "is longer than its header says",
        "needs_extra": "is {format}, a format of the extra containers",
        "no_audio": "holds no audio",
        "no_length": "has no length in its header",
        "no_style_model": "needs a style model: this one has no style encoder",
        "not_a_melody": "cannot be a melody here: this model follows text only",
        "not_audio": "is not readable audio, or is damaged",
        "not_finite": "holds NaN or infinity",
        "out_of_limits": "cannot be decoded within the limits of memory and time",
        "too_large": "is too large",
        "too_long": "is longer than {most:g} s",
        "too_many_channels": "has more than {most:count channel}",
        "too_many_pieces": "is joined of more than {most:count sound}",
        "too_short_to_continue": "must have at least {least:g} s to continue",
        "too_short_to_follow": "is too short to follow",
        "unknown_codec": "holds an unknown codec, which cannot be read",
        "unreadable": "cannot be read: {why}",
    }
)
"""English phrases by code. A value stands in braces."""


class SoundReason(Reason):
    """English phrase of a reason, with the `code` of its template and the `values` in it."""

    texts = SOUND_REASONS
