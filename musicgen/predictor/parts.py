"""Further files of a clip: its stems and its notes."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO, cast

from musicgen.audio.encode import content_type, encode_blocks, file_extension
from musicgen.audio.lossy_fit import LOSSY_FORMATS, encode_within
from musicgen.audio.normalize import Normalized, normalize
from musicgen.audio.pcm import Pcm
from musicgen.audio.tags import AudioTags
from musicgen.disk_errors import find_temporary_folder, translate_full_disk
from musicgen.errors import (
    CheckpointNotFound,
    MissingDependency,
    PartUnavailable,
    SettingsError,
)
from musicgen.midi import packages as midi
from musicgen.predictor.diffusion import FIELD as DECODER
from musicgen.predictor.diffusion import find_missing_diffusion
from musicgen.predictor.separation import MelodySeparator
from musicgen.request import AudioFormat, GenerationRequest

_STEM = re.compile("[a-z][a-z0-9_]{0,23}")
_IN_MEMORY_BYTES = 4 * 2**20
_BLOCK_BYTES = 2**18


@dataclass(frozen=True)
class MadePart:
    """Encoded part of a clip, in memory or in a temporary file that its end deletes.

    `stem`: empty for notes.
    """

    name: str
    stem: str
    extension: str
    content_type: str
    tags: AudioTags
    file: BinaryIO

    def read(self) -> Iterator[bytes]:
        """Yield the file in blocks, from its beginning."""
        self.file.seek(0)
        while block := self.file.read(_BLOCK_BYTES):
            yield block


def find_missing_parts(
    separator: MelodySeparator,
    diffusion: str,
    absent: Collection[str],
    *,
    has_diffusion: bool,
) -> dict[str, str]:
    """Return the fields that this machine cannot serve, each with what to do about it.

    They are those of parts of clips, and `decoder` for multi-band diffusion with the weights
    `diffusion`. `absent`: names of the hub that this machine cannot have. `has_diffusion`: whether
    the engine can use them. Loads nothing: a model that turns out to be unusable is found by its
    first request.
    """
    missing: dict[str, object] = {
        midi.PART: midi.find_missing(),
        "stems": separator.find_missing(),
        DECODER: find_missing_diffusion(diffusion, absent, has_engine=has_diffusion),
    }
    return {field: str(error) for field, error in missing.items() if error is not None}


def check_parts(request: GenerationRequest, separator: MelodySeparator) -> int:
    """Return the number of stems of each clip, and load what makes the parts of a request.

    Raises: `PartUnavailable` for parts that this machine cannot make.
    """
    error = midi.find_missing() if request.midi else None
    if error is not None:
        raise PartUnavailable(midi.PART, str(error))
    if not request.stems:
        return 0
    try:
        return len(_list_stems(separator))
    except (MissingDependency, SettingsError, CheckpointNotFound) as failure:
        raise PartUnavailable("stems", str(failure)) from failure


def make_parts(
    clips: Sequence[Normalized],
    audio_format: AudioFormat,
    tags: Sequence[AudioTags],
    request: GenerationRequest,
    separator: MelodySeparator,
) -> list[list[MadePart]]:
    """Return the requested parts of each finished clip.

    Stems have the format of the clip. Raises: `DiskFull`, `NotWritable`, `MissingDependency`.
    """
    return [
        _make_parts_of(clip.pcm, audio_format, tag, request, separator)
        for clip, tag in zip(clips, tags, strict=True)
    ]


def _make_parts_of(
    pcm: Pcm,
    audio_format: AudioFormat,
    tags: AudioTags,
    request: GenerationRequest,
    separator: MelodySeparator,
) -> list[MadePart]:
    made: list[MadePart] = []
    if request.stems:
        form = audio_format.output_format
        kind = file_extension(form), content_type(form)
        stems = separator.separate(pcm, audio_format.rate, is_loop=request.loop)
        for stem in tuple(stems):
            own = build_stem_tags(tags, stem)
            sound = limit_stem(stems.pop(stem), audio_format.rate, request)
            if form in LOSSY_FORMATS:
                file = _write([encode_within(sound, audio_format, own)])
            else:
                file = _write(encode_blocks(sound, audio_format, own))
            made.append(MadePart(stem, stem, *kind, own, file))
    if request.midi:
        from musicgen.midi.midi_file import transcribe_to_midi

        file = _write([transcribe_to_midi(pcm, audio_format.rate, tags)])
        made.append(MadePart(midi.PART, "", midi.EXTENSION, midi.CONTENT_TYPE, tags, file))
    return made


def limit_stem(pcm: Pcm, sample_rate: int, request: GenerationRequest) -> Pcm:
    """Return a stem below the ceiling of its clip: a part of a mix may peak higher than the mix."""
    if request.normalization_strategy == "none":
        return pcm
    ceiling, loop = request.true_peak_ceiling, request.loop
    return normalize(pcm, sample_rate, "clip", ceiling_dbtp=ceiling, loops=loop).pcm


def build_stem_tags(tags: AudioTags, stem: str) -> AudioTags:
    """Return the tags of a stem of a clip; tokens would give the whole clip."""
    return replace(tags, prompt=f"{tags.prompt} ({stem})", tokens=None)


def _list_stems(separator: MelodySeparator) -> Sequence[str]:
    names = separator.list_stems()
    # They become names of files.
    if any(_STEM.fullmatch(name) is None or name == midi.PART for name in names):
        problem = "must be a model whose stems have plain names"
        raise SettingsError("MUSICGEN_SEPARATION", problem, value=", ".join(names))
    return names


def _write(blocks: Iterable[bytes]) -> BinaryIO:
    folder = find_temporary_folder()
    file = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 - read when stored
    with translate_full_disk(folder):
        file.writelines(blocks)
    return cast(BinaryIO, file)
