"""Notes on a result: facts useful to a caller without asking."""

from __future__ import annotations

from collections.abc import Sequence

from musicgen import catalog
from musicgen.audio.normalize import Normalized
from musicgen.checkpoints.locate import Source
from musicgen.notes import ResultNote
from musicgen.request import GenerationRequest


def build_notes(
    request: GenerationRequest, source: Source, clips: Sequence[Normalized], streamed: bool
) -> tuple[ResultNote, ...]:
    """Return the notes of a result without duplicates."""
    notes = [note for clip in clips for note in clip.notes]
    if source.name == catalog.DEMO:
        notes.append(ResultNote("demo"))
    if streamed and request.normalization_strategy != "none":
        notes.append(ResultNote("stream_level"))
    if request.loop and request.output_format in ("mp3", "opus"):
        notes.append(ResultNote("loop_gap"))
    return tuple(dict.fromkeys(notes))
