"""The model of basic-pitch finds the notes of known scores, and the file holds them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import mido
import numpy as np
import pytest

from musicgen.audio.encode import encode
from musicgen.audio.tags import AudioTags
from musicgen.audio.tempo import Tempo
from musicgen.errors import MissingDependency
from musicgen.midi import packages
from musicgen.midi.midi_file import build_midi, transcribe_to_midi
from musicgen.midi.notes import Note
from musicgen.midi.transcriber import FRAMES_PER_SECOND, transcribe
from musicgen.request import AudioFormat

RATE = 32_000
TAGS = AudioTags("calm piano", 7, "demo", "Apache-2.0", "test")
pytestmark = pytest.mark.skipif(
    packages.find_missing() is not None, reason="basic-pitch's model is not installed"
)


def _play(pitches: list[int], beat: float, rate: int = RATE) -> np.ndarray:
    """One note of five partials on each beat, which dies away."""
    sound = np.zeros((round(len(pitches) * beat * rate), 2), np.float32)
    time = np.arange(round(0.95 * beat * rate)) / rate
    envelope = np.exp(-3 * time) * np.minimum(1, 200 * time) * np.minimum(1, 50 * time[::-1])
    for place, pitch in enumerate(pitches):
        frequency = 440 * 2 ** ((pitch - 69) / 12)
        partials = sum(np.sin(2 * np.pi * frequency * k * time) / k**2 for k in range(1, 6))
        start = round(place * beat * rate)
        sound[start : start + len(time)] += (0.3 * envelope * partials)[:, None]
    return sound.astype(np.float32)


@pytest.mark.parametrize("rate", [32_000, 48_000])
def test_a_melody_over_many_windows_keeps_its_notes_and_times(rate: int) -> None:
    """Guards the drift of windows that do not follow one another by whole frames."""
    pitches = [60, 62, 64, 65, 67, 69, 71, 72, 71, 69, 67, 65] * 3
    notes = transcribe(_play(pitches, 0.4, rate), rate)
    for place, pitch in enumerate(pitches):
        times = [n.start / FRAMES_PER_SECOND for n in notes if n.pitch == pitch]
        assert min(abs(time - 0.4 * place) for time in times) < 0.05, place
    assert len(notes) <= 1.25 * len(pitches)


def test_chords_are_several_notes_at_once() -> None:
    chord = sum(_play([pitch], 1.0) for pitch in (48, 64, 67))
    first = {note.pitch for note in transcribe(chord, RATE) if note.start < 8}
    assert {48, 64, 67} <= first


@pytest.mark.parametrize("samples", [1, 255, 256, 5000, 70_000])
def test_silence_of_any_length_has_no_notes(samples: int) -> None:
    assert transcribe(np.zeros((samples, 2), np.float32), RATE) == []


def _read(data: bytes) -> tuple[mido.MidiFile, list[tuple[float, float, int]]]:
    """Return the file, and start, end and pitch of its notes in seconds."""
    file = mido.MidiFile(file=io.BytesIO(data), charset="utf-8")
    now, begun, notes = 0.0, {}, []
    for message in file:
        now += message.time
        if message.type == "note_on":
            begun[message.note] = now
        elif message.type == "note_off":
            notes.append((begun.pop(message.note), now, message.note))
    assert not begun
    return file, notes


@pytest.mark.parametrize("tempo", [None, Tempo(92.5, 3, True), Tempo(300), Tempo(30)])
def test_a_file_has_tempo_meter_and_the_times_of_the_sound(tempo: Tempo | None) -> None:
    notes = [Note(60, 0, 86, 100), Note(64, 43, 172, 1), Note(60, 86, 100, 127)]
    tags = AudioTags("düster 🎹\nsong", 7, "demo", "Apache-2.0", "test", tempo=tempo)
    file, found = _read(build_midi(notes, tags, 172 / FRAMES_PER_SECOND))
    wanted = sorted(
        (n.start / FRAMES_PER_SECOND, n.end / FRAMES_PER_SECOND, n.pitch) for n in notes
    )
    assert np.allclose(sorted(found), wanted, atol=0.005)
    meta = {message.type: message for message in file.tracks[0] if message.is_meta}
    bpm, beats = (120, 4) if tempo is None else (tempo.bpm, tempo.beats_per_bar)
    assert mido.tempo2bpm(meta["set_tempo"].tempo) == pytest.approx(bpm, rel=1e-5)
    assert (meta["time_signature"].numerator, meta["time_signature"].denominator) == (beats, 4)
    assert meta["track_name"].name == "düster 🎹 song"
    assert meta["copyright"].text == "Apache-2.0"


@pytest.mark.parametrize(("bpm", "beats", "rate"), [(126, 16, RATE), (92.5, 9, 44_100)])
def test_the_track_of_a_loop_has_its_whole_bars(bpm: float, beats: int, rate: int) -> None:
    """It ended with the last note, so a loop of notes fell out of step with its sound."""
    samples = round(beats * 60 / bpm * rate)
    sound = np.pad(_play([60, 64], 0.4, rate), ((0, samples), (0, 0)))[:samples]
    tags = AudioTags("loop", 1, "demo", "", "test", tempo=Tempo(bpm, 4, True))
    file, found = _read(transcribe_to_midi(sound, rate, tags))
    assert found and max(end for _, end, _ in found) < 1
    assert sum(message.time for message in file.tracks[0]) == beats * file.ticks_per_beat


def test_no_note_ends_after_its_sound() -> None:
    """The last frame of the model is rarely whole."""
    frames, seconds = 100, 99.5 / FRAMES_PER_SECOND
    file, [(_, end, _)] = _read(build_midi([Note(60, 0, frames, 100)], TAGS, seconds))
    assert end == pytest.approx(file.length) and file.length == pytest.approx(seconds, abs=0.001)


@pytest.mark.parametrize("prompt", ["", "\0", "\ud800", "x" * 2000, "\ufffe"])
def test_any_prompt_and_no_notes_make_a_file(prompt: str) -> None:
    _, found = _read(build_midi([], AudioTags(prompt, 1, "", "", ""), 1.0))
    assert found == []


def test_the_command_writes_midi_beside_a_clip(tmp_path: Path) -> None:
    clip = tmp_path / "clip.flac"
    tags = AudioTags("scale", 1, "demo", "Apache-2.0", "test", tempo=Tempo(150, 4))
    clip.write_bytes(
        encode(_play([60, 64, 67, 72], 0.4), AudioFormat("flac", sample_rate=RATE), tags)
    )
    command = [sys.executable, "-m", "handlers.cli", "midi", str(clip)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'clip.mid'}\n"
    file, found = _read((tmp_path / "clip.mid").read_bytes())
    assert {60, 64, 67, 72} <= {pitch for _, _, pitch in found}
    assert any(m.type == "set_tempo" and m.tempo == 400_000 for m in file.tracks[0])
    broken = subprocess.run(
        [*command[:-1], str(tmp_path / "clip.mid")], capture_output=True, text=True
    )
    assert broken.returncode == 2
    assert "Traceback" not in broken.stderr


@pytest.mark.parametrize("missing", ["mido", "onnxruntime", "basic-pitch"])
def test_a_missing_package_is_named_with_the_commands(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr(packages, "_find_missing_package", lambda: missing)
    with pytest.raises(MissingDependency) as error:
        transcribe_to_midi(np.zeros((10, 1), np.float32), RATE, TAGS)
    assert missing in str(error.value)
    assert "pip install -e '.[midi]'" in str(error.value)
    assert "--no-deps" in str(error.value)
