"""Write notes as a MIDI file of one track, with tempo, meter and origin."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

from musicgen.audio.pcm import Pcm
from musicgen.audio.tags import AudioTags
from musicgen.midi.notes import Note
from musicgen.midi.packages import check_installed
from musicgen.midi.transcriber import FRAMES_PER_SECOND, transcribe

_TICKS_PER_BEAT = 480
_BPM_DEFAULT = 120.0
"""Tempo of a MIDI file that names none."""
_MICROSECONDS_PER_MINUTE = 60_000_000


def transcribe_to_midi(pcm: Pcm, sample_rate: int, tags: AudioTags) -> bytes:
    """Return a MIDI file of the notes of `pcm` (samples, channels).

    Times are those of the sound, not moved to a grid. Beats follow `tags.tempo`, or 120 per minute
    without one. All notes are on one track: the model tells no instruments apart. The track is as
    long as the sound, so the notes of a loop repeat with it.

    Raises: `MissingDependency` without the extra `midi` or the model.
    """
    return build_midi(transcribe(pcm, sample_rate), tags, len(pcm) / sample_rate)


def build_midi(notes: Iterable[Note], tags: AudioTags, seconds: float) -> bytes:
    """Return a MIDI file of `seconds` with `notes`, titled by the prompt.

    Raises: `MissingDependency`.
    """
    check_installed()
    import mido

    tempo = tags.tempo
    bpm = _BPM_DEFAULT if tempo is None else tempo.bpm
    track = mido.MidiTrack(_build_head(tags, bpm, 4 if tempo is None else tempo.beats_per_bar))
    ticks_per_second = bpm / 60 * _TICKS_PER_BEAT
    now, last = 0, round(seconds * ticks_per_second)
    for ticks, is_start, note in _order_events(notes, ticks_per_second, last):
        velocity = note.velocity if is_start else 0
        kind = "note_on" if is_start else "note_off"
        track.append(
            mido.Message(kind, note=note.pitch, velocity=velocity, time=ticks - now, channel=0)
        )
        now = ticks
    track.append(mido.MetaMessage("end_of_track", time=last - now))
    target = io.BytesIO()
    file = mido.MidiFile(type=0, ticks_per_beat=_TICKS_PER_BEAT, charset="utf-8")
    file.tracks.append(track)
    file.save(file=target)
    return target.getvalue()


def _build_head(tags: AudioTags, bpm: float, beats_per_bar: int) -> list[Any]:
    from mido import MetaMessage

    fields = tags.to_fields()
    texts = {"track_name": ("name", "title"), "copyright": ("text", "license")}
    texts["text"] = ("text", "artist")
    head = [
        MetaMessage(kind, time=0, **{argument: fields[field]})
        for kind, (argument, field) in texts.items()
        if field in fields
    ]
    microseconds = round(_MICROSECONDS_PER_MINUTE / bpm)
    head.append(MetaMessage("set_tempo", tempo=microseconds, time=0))
    head.append(MetaMessage("time_signature", numerator=beats_per_bar, denominator=4, time=0))
    return head


def _order_events(
    notes: Iterable[Note], ticks_per_second: float, last: int
) -> list[tuple[int, bool, Note]]:
    """Return starts and ends by time; at the same time an end comes first.

    The model's last frame may reach beyond the sound, which ends at the tick `last`.
    """
    scale = ticks_per_second / FRAMES_PER_SECOND
    events = []
    for note in notes:
        start = round(note.start * scale)
        events.append((start, True, note))
        events.append((min(max(start + 1, round(note.end * scale)), last), False, note))
    return sorted(events, key=lambda event: (event[0], event[1], event[2].pitch))
