"""Notes on a result: facts useful to a caller without asking."""

from __future__ import annotations

from collections.abc import Sequence

from musicgen import catalog
from musicgen.audio.normalize import Normalized
from musicgen.checkpoints.locate import Source
from musicgen.request import GenerationRequest


def build_notes(
    request: GenerationRequest, source: Source, clips: Sequence[Normalized], streamed: bool
) -> tuple[str, ...]:
    """Return the notes of a result without duplicates."""
    notes = [clip.note for clip in clips if clip.note]
    if source.name == catalog.DEMO:
        notes.append("the demo model is a toy: it plays short synthetic pieces, not real music")
    if streamed and request.normalization_strategy != "none":
        notes.append("the stream has the model's own level; the stored clip is normalized")
    if request.loop and request.output_format in ("mp3", "opus"):
        notes.append("players of this format may pause between rounds of a loop: wav does not")
    return tuple(dict.fromkeys(notes))
