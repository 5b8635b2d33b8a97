"""Conversion of a stored clip to another format, with its tags and its credentials."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from musicgen.audio.decode import read_audio
from musicgen.audio.lossy_fit import encode_within
from musicgen.audio.tags import AudioTags, read_tags
from musicgen.midi.midi_file import transcribe_to_midi
from musicgen.midi.packages import EXTENSION
from musicgen.request import AudioFormat

if TYPE_CHECKING:
    from musicgen.credentials.signing import ContentSigner


def convert(
    source: Path,
    extension: str,
    signer: ContentSigner | None = None,
    *,
    has_other_beginning: bool = False,
) -> bytes:
    """Return a clip in another format, with its tags, or its notes as MIDI.

    `signer`: signs the new file, whose manifest keeps that of `source`. `has_other_beginning`: the
    clip begins with a sound of another origin; used where `source` has no manifest.

    Raises: `MissingDependency` for MIDI without its packages; the errors of `ContentSigner.sign`.
    """
    pcm, rate = read_audio(source)
    tags = read_tags(source) or AudioTags("", 0, "", "", "")
    if extension == EXTENSION:
        return transcribe_to_midi(pcm, rate, tags)
    data = encode_within(pcm, AudioFormat(extension, sample_rate=rate), tags)
    if signer is None:
        return data
    return _sign(signer, source, data, extension, tags, has_other_beginning)


def _sign(
    signer: ContentSigner,
    source: Path,
    data: bytes,
    extension: str,
    tags: AudioTags,
    has_other_beginning: bool,
) -> bytes:
    from musicgen.credentials.archive import build_archive
    from musicgen.credentials.claim import Claim

    facts, archive = build_archive(source.read_bytes(), "parentOf")
    if facts["has_credentials"]:
        kept = Claim(
            *(tags.model, tags.licence, "parentOf", facts["is_generated"]), is_conversion=True
        )
        return signer.sign(data, extension, kept, archive)
    # A stored ogg cannot have credentials, and an older clip was made without a key.
    claim = Claim(tags.model, tags.licence, has_other_beginning=has_other_beginning)
    return signer.sign(data, extension, claim)
