"""Game engines and audio workstations find tempo and loop: read back by libraries of others."""

from __future__ import annotations

import io
import json
import re
import struct
from dataclasses import replace

import av
import mutagen
import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.audio.encode import encode
from musicgen.audio.live_encoder import LIVE_FORMATS, LiveEncoder
from musicgen.audio.tags import AudioTags, read_tags
from musicgen.audio.tempo import Tempo
from musicgen.request import AudioFormat
from musicgen.request.limits import BIT_DEPTHS, BPM_MAX, BPM_MIN, OUTPUT_FORMATS

RATE, SAMPLES = 32_000, 64_001
PCM = (0.1 * np.random.default_rng(0).standard_normal((SAMPLES, 2))).astype(np.float32)
LOOP = Tempo(119.5, 3, True)
WITH_COMMENTS = ("flac", "ogg", "opus")
_GET_INSTRUMENT, _GET_LOOP_INFO = 0x10D0, 0x10E0
_LOOP_FORWARD = 801


def _encode(tempo: Tempo | None, form: str, prompt: str = "techno", **fields: object) -> bytes:
    tags = AudioTags(prompt, 7, "demo", "Apache-2.0", "test", tempo=tempo)
    return encode(PCM, replace(AudioFormat(form, sample_rate=RATE), **fields), tags)


def _ask_libsndfile(wav: bytes, command: int, layout: str) -> tuple[float, ...] | None:
    """Return the numbers of SF_INSTRUMENT or SF_LOOP_INFO (sndfile.h), or None."""
    with sf.SoundFile(io.BytesIO(wav)) as sound:
        # The bindings have no method for it.
        buffer = sf._ffi.new("char[512]")
        size = struct.calcsize("<i6s2xi64i") if command == _GET_INSTRUMENT else 44
        if not sf._snd.sf_command(sound._file, command, buffer, size):
            return None
        return struct.unpack_from(layout, sf._ffi.buffer(buffer))


@pytest.mark.parametrize("depth", BIT_DEPTHS)
def test_a_looped_wav_names_its_loop_and_its_beats(depth: str) -> None:
    wav = _encode(LOOP, "wav", bit_depth=depth)
    found = _ask_libsndfile(wav, _GET_INSTRUMENT, "<i6s2xi4I")
    assert found is not None
    count, mode, start, end, rounds = found[2:]
    assert (count, mode, start, rounds) == (1, _LOOP_FORWARD, 0, 0)
    # libsndfile's end is the first sample behind the loop.
    assert end == SAMPLES
    found = _ask_libsndfile(wav, _GET_LOOP_INFO, "<hhiif")
    assert found == (3, 4, _LOOP_FORWARD, round(SAMPLES / RATE * 119.5 / 60), 119.5)
    samples, rate = sf.read(io.BytesIO(wav))
    assert (samples.shape, rate) == (PCM.shape, RATE)


def test_a_wav_with_a_tempo_alone_has_no_loop_point() -> None:
    wav = _encode(replace(LOOP, is_loop=False), "wav")
    assert _ask_libsndfile(wav, _GET_INSTRUMENT, "<i") is None
    found = _ask_libsndfile(wav, _GET_LOOP_INFO, "<hhiif")
    assert found is not None
    assert found[-1] == 119.5
    assert _ask_libsndfile(_encode(None, "wav"), _GET_LOOP_INFO, "<i") is None


@pytest.mark.parametrize("form", WITH_COMMENTS)
@pytest.mark.parametrize("is_loop", [True, False])
def test_comments_name_the_loop_and_the_tempo(form: str, is_loop: bool) -> None:
    data = _encode(replace(LOOP, is_loop=is_loop), form)
    length = len(sf.read(io.BytesIO(data))[0])
    file = mutagen.File(io.BytesIO(data))
    comments = {name.lower(): texts for name, texts in file.tags.items()}
    assert comments["bpm"] == ["119.5"]
    assert comments.get("loopstart") == (["0"] if is_loop else None)
    assert comments.get("looplength") == ([str(length)] if is_loop else None)
    assert comments["title"] == ["techno"]
    assert not comments.keys() & {"album", "genre", "date"}
    with av.open(io.BytesIO(data)) as container:
        stream = {k.lower(): v for k, v in container.streams.audio[0].metadata.items()}
        whole = {k.lower(): v for k, v in container.metadata.items()}
    # ffmpeg has a name of its own for BPM.
    names = {**whole, **stream}
    assert names.get("loopstart") == ("0" if is_loop else None)
    assert "119.5" in (names.get("bpm"), names.get("tbpm"))


@pytest.mark.parametrize("form", WITH_COMMENTS)
def test_the_search_of_rpg_maker_finds_the_right_numbers(form: str) -> None:
    """It reads on until a byte is no digit: the length of the next comment follows at once."""
    for bpm in (30, 119.5, 123.4567):
        for samples in (1, 9_999, SAMPLES):
            tags = AudioTags("x" * 47, 1, "m", "l", "g", tempo=Tempo(bpm, 4, True))
            data = encode(PCM[:samples], AudioFormat(form, sample_rate=48_000), tags)
            start = re.search(rb"LOOPSTART=([0-9]+)", data)
            length = re.search(rb"LOOPLENGTH=([0-9]+)", data)
            assert start is not None
            assert length is not None
            assert (int(start[1]), int(length[1])) == (0, samples)


def test_an_mp3_names_its_tempo_as_a_whole_number_and_stays_gapless() -> None:
    for bpm, whole in ((119.5, "120"), (120.5, "121"), (90, "90"), (90.4, "90")):
        data = _encode(Tempo(bpm, 4, True), "mp3")
        tags = mutagen.File(io.BytesIO(data)).tags
        assert tags["TBPM"].text == [whole]
        assert +tags["TBPM"] == int(whole)
        assert len(sf.read(io.BytesIO(data))[0]) == SAMPLES


@pytest.mark.parametrize("form", OUTPUT_FORMATS)
def test_a_conversion_keeps_tempo_and_loop(form: str) -> None:
    """As the job API converts: from the tags of a file, and its sound."""
    for tempo in (LOOP, replace(LOOP, is_loop=False), None):
        tags = read_tags(_encode(tempo, form))
        assert tags is not None
        assert tags.tempo == tempo


@settings(max_examples=25)
@given(
    form=st.sampled_from(OUTPUT_FORMATS),
    bpm=st.floats(BPM_MIN, BPM_MAX, width=32),
    beats=st.integers(2, 12),
    is_loop=st.booleans(),
    prompt=st.one_of(st.text(max_size=300), st.sampled_from(["#" * 9, "album=#####", "😀" * 2000])),
)
def test_any_tempo_comes_back_and_leaves_the_sound_alone(
    form: str, bpm: float, beats: int, is_loop: bool, prompt: str
) -> None:
    tempo = Tempo(bpm, beats, is_loop)
    tags = AudioTags(prompt, 7, "demo", "Apache-2.0", "test", tempo=tempo)
    audio_format = AudioFormat(form, sample_rate=RATE)
    data = encode(PCM[:3000], audio_format, tags)
    assert read_tags(data) == tags
    plain = encode(PCM[:3000], audio_format, replace(tags, tempo=None))
    assert np.array_equal(sf.read(io.BytesIO(data))[0], sf.read(io.BytesIO(plain))[0])
    if form in WITH_COMMENTS:
        assert mutagen.File(io.BytesIO(data)).tags["bpm"] == [f"{bpm:.7g}"]


@pytest.mark.parametrize("form", LIVE_FORMATS)
def test_a_stream_names_the_tempo_and_no_loop(form: str) -> None:
    tags = AudioTags("techno", 7, "demo", "Apache-2.0", "test", tempo=LOOP)
    encoder = LiveEncoder(2, AudioFormat(form, sample_rate=RATE), tags)
    parts = [encoder.push(PCM[at : at + 9000], False) for at in range(0, SAMPLES, 9000)]
    data = b"".join([*parts, encoder.push(PCM[:0], True)])
    assert read_tags(data) == replace(tags, tempo=replace(LOOP, is_loop=False))
    if form == "ogg":
        found = mutagen.File(io.BytesIO(data)).tags
        assert found["bpm"] == ["119.5"]
        assert "loopstart" not in found
        assert len(sf.read(io.BytesIO(data))[0]) == SAMPLES
    if form == "wav":
        assert b"smpl" not in data[:2000]


@pytest.mark.parametrize(
    "tempo",
    [
        7,
        [],
        "120",
        {},
        {"bpm": "120"},
        {"bpm": 1e999},
        {"bpm": 29},
        {"bpm": 120, "beats_per_bar": 2.5},
        {"bpm": 120, "is_loop": 1},
        {"bpm": 120, "more": 1},
    ],
)
def test_a_stranger_s_tempo_is_no_tag(tempo: object) -> None:
    tags = json.dumps({**json.loads(AudioTags("p", 1, "m", "l", "g").to_json()), "tempo": tempo})
    file = io.BytesIO()
    with sf.SoundFile(file, "w", RATE, 1, format="FLAC") as sound:
        sound.comment = tags
        sound.write(PCM[:100, 0])
    assert read_tags(file.getvalue()) is None
