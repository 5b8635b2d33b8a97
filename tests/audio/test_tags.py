"""Any prompt can be written into any format, is read back whole, and breaks no container."""

from __future__ import annotations

import io
import json
from pathlib import Path

import mutagen
import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st
from mutagen.flac import FLAC
from mutagen.mp3 import MP3
from mutagen.oggopus import OggOpus
from mutagen.oggvorbis import OggVorbis

from musicgen.audio.encode import encode
from musicgen.audio.tags import TITLE_CHARACTERS, AudioTags, read_tags
from musicgen.request import AudioFormat
from musicgen.request.limits import OUTPUT_FORMATS

PCM = (0.1 * np.random.default_rng(0).standard_normal((2000, 2))).astype(np.float32)
TAGGED = {"flac": FLAC, "mp3": MP3, "ogg": OggVorbis, "opus": OggOpus}
LICENCE = "CC-BY-NC-4.0"
AWKWARD = [
    "80s pop with a saxophone",
    "Ünïcödé 東京 كلمات",
    "😀" * 2000,
    "first line\nsecond line\r\n\tthird",
    "nul \0 bell \x07 delete \x7f escape \x1b[31m",
    "\0",
    "surrogate \ud800 alone",
    "\ufffe and \uffff are no characters",
    '{"prompt": "json"}, \\" and \'quotes\' = 100 % $HOME',
    "ID3\x04RIFFOggSfLaC",
    "x" * 2000,
    "\u202eright to left",
    " ",
    "",
]


def _tags(prompt: str, seed: int = 42) -> AudioTags:
    return AudioTags(prompt, seed, "facebook/musicgen-small", LICENCE, "musicgen 1.0")


def _encode(tags: AudioTags, form: str) -> bytes:
    return encode(PCM, AudioFormat(form, sample_rate=32_000), tags)


@pytest.mark.parametrize("form", OUTPUT_FORMATS)
@pytest.mark.parametrize("prompt", AWKWARD, ids=range(len(AWKWARD)))
def test_a_prompt_comes_back_whole_and_leaves_the_audio_as_it_was(form: str, prompt: str) -> None:
    """libsndfile reads no WAV comment over 2047 bytes: 2000 emoji are twelve times that."""
    data = _encode(_tags(prompt), form)
    assert read_tags(data) == _tags(prompt)
    plain, _ = sf.read(io.BytesIO(_encode(_tags("plain"), form)))
    tagged, _ = sf.read(io.BytesIO(data))
    assert np.array_equal(tagged, plain)


@settings(max_examples=30)
@given(st.sampled_from(OUTPUT_FORMATS), st.text(max_size=300), st.integers(0, 2**32 - 1))
def test_any_text_comes_back(form: str, prompt: str, seed: int) -> None:
    data = _encode(_tags(prompt, seed), form)
    assert read_tags(data) == _tags(prompt, seed)
    assert sf.info(io.BytesIO(data)).channels == 2


@pytest.mark.parametrize("form", TAGGED)
@pytest.mark.parametrize("prompt", AWKWARD, ids=range(len(AWKWARD)))
def test_another_reader_finds_the_same_tags(form: str, prompt: str) -> None:
    file = TAGGED[form](io.BytesIO(_encode(_tags(prompt), form)))
    assert file.tags is not None
    if form == "mp3":
        found = {name: str(file.tags[name]) for name in file.tags}
        title, comment, licence = (found.get(name, "") for name in ("TIT2", "COMM::eng", "TCOP"))
    else:
        title, comment, licence = (
            file.tags.get(name, [""])[0] for name in ("title", "comment", "license")
        )
    assert title == _tags(prompt).title
    assert json.loads(comment) == json.loads(_tags(prompt).to_json())
    assert licence == LICENCE


@pytest.mark.parametrize("prompt", AWKWARD, ids=range(len(AWKWARD)))
def test_a_wav_names_title_artist_and_licence_where_players_look(prompt: str) -> None:
    with sf.SoundFile(io.BytesIO(_encode(_tags(prompt), "wav"))) as sound:
        assert sound.title == _tags(prompt).title
        assert sound.artist == "musicgen 1.0"
        assert sound.copyright == LICENCE


def test_an_mp3_seeks_and_lasts_as_if_it_had_no_tag() -> None:
    """A tag whose length is wrong shifts the first frame, and with it the duration."""
    for prompt in AWKWARD:
        file = MP3(io.BytesIO(_encode(_tags(prompt), "mp3")))
        assert file.info.sample_rate == 32_000
        assert file.info.length == pytest.approx(2000 / 32_000, abs=1e-3)


@given(st.text(max_size=300))
def test_a_title_is_one_short_printable_line(prompt: str) -> None:
    title = _tags(prompt).title
    assert len(title) <= TITLE_CHARACTERS
    assert title == title.strip()
    assert not set(title) & {"\0", "\n", "\r", "\x1b", "\x7f", "\u2028", "\ufffe"}
    title.encode()


def test_a_title_shows_that_it_was_cut() -> None:
    assert _tags("x" * TITLE_CHARACTERS).title == "x" * TITLE_CHARACTERS
    assert _tags("x" * (TITLE_CHARACTERS + 1)).title == "x" * (TITLE_CHARACTERS - 1) + "…"


@pytest.mark.parametrize("form", OUTPUT_FORMATS)
def test_tags_are_read_from_a_path_whatever_its_name(form: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.bin"
    path.write_bytes(_encode(_tags("song"), form))
    assert read_tags(path) == _tags("song")
    with pytest.raises(FileNotFoundError):
        read_tags(tmp_path / "none")


@pytest.mark.parametrize("form", OUTPUT_FORMATS)
@pytest.mark.parametrize(
    "comment",
    ["", "made by hand", "[]", "7", "{}", '{"prompt": "p"}', "[" * 1500],
    ids=["none", "prose", "list", "number", "empty", "some", "deep"],
)
def test_files_without_our_tags_have_none(form: str, comment: str) -> None:
    file = io.BytesIO()
    kind = {"ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS")}.get(form, (form.upper(), None))
    with sf.SoundFile(file, "w", 48_000, 2, kind[1], format=kind[0]) as sound:
        if comment:
            sound.comment = comment
        sound.write(PCM)
    assert read_tags(file.getvalue()) is None


def test_hostile_bytes_have_no_tags() -> None:
    """Guards `RecursionError` of a comment that nests deeply, and chunks that lie."""
    deep = b"[" * 200_000
    info = b"INFO" + b"ICMT" + len(deep).to_bytes(4, "little") + deep
    listed = b"LIST" + len(info).to_bytes(4, "little") + info
    hostile = [b"", b"RIFF", b"RIFF\xff\xff\xff\xffWAVE", b"OggS", b"ID3", b"\xff\xd8\xff\xe0JPEG"]
    hostile.append(b"RIFF" + bytes(4) + b"WAVE" + listed)
    hostile.append(b"RIFF" + bytes(4) + b"WAVE" + b"LIST\xff\xff\xff\xffINFOICMT\xff\xff\xff\xff{")
    for data in hostile:
        assert read_tags(data) is None


@pytest.mark.parametrize("form", OUTPUT_FORMATS)
def test_cutting_a_file_anywhere_never_raises(form: str) -> None:
    data = _encode(_tags("song"), form)
    for end in range(0, len(data), max(1, len(data) // 40)):
        assert read_tags(data[:end]) in (None, _tags("song"))


def test_mutagen_agrees_on_every_container() -> None:
    kinds = {f: mutagen.File(io.BytesIO(_encode(_tags("x"), f))) for f in TAGGED}
    assert {form: type(kind) for form, kind in kinds.items()} == TAGGED
