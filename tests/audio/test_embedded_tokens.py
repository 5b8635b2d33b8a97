"""Tokens in a file are read back whole, or not at all."""

from __future__ import annotations

import io
import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st

from musicgen.audio.decode import read_audio
from musicgen.audio.embedded_tokens import SavedTokens, compute_checksum, read_tokens
from musicgen.audio.encode import encode
from musicgen.audio.tags import AudioTags, read_tags
from musicgen.errors import InvalidInputAudio
from musicgen.request import AudioFormat

TAGS = AudioTags("bells", 1, "demo", "Apache-2.0", "test")
RATE = 32_000
FORMS = [
    AudioFormat(container, depth, sample_rate=RATE)
    for container, depth in [
        *(("wav", "16"), ("wav", "24"), ("wav", "float")),
        *(("flac", "16"), ("flac", "24")),
    ]
]


def _saved(frames: int, codebooks: int = 4, sound: int = 0) -> SavedTokens:
    codes = np.random.default_rng(frames).integers(0, 2048, (codebooks, frames))
    return SavedTokens(codes, "mark", sound)


def _file(path: Path, frames: int, form: AudioFormat, channels: int = 1) -> SavedTokens:
    noise = np.random.default_rng(1).normal(0, 0.3, (8001, channels)).astype(np.float32)
    saved = SavedTokens(_saved(frames).codes, "mark", compute_checksum(noise, form))
    tags = AudioTags("bells", 1, "demo", "Apache-2.0", "test", saved.to_text())
    path.write_bytes(encode(noise, form, tags))
    return saved


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("frames", [1, 1500, 15_000])
@pytest.mark.parametrize("form", FORMS, ids=lambda f: f"{f.output_format}-{f.bit_depth}")
def test_a_file_gives_back_what_it_was_made_of(
    tmp_path: Path, form: AudioFormat, frames: int, channels: int
) -> None:
    path = tmp_path / f"a.{form.output_format}"
    saved = _file(path, frames, form, channels)
    found = read_tokens(path)
    assert found is not None and found.codec == "mark"
    np.testing.assert_array_equal(found.codes, saved.codes)
    pcm, rate = sf.read(path)
    assert (len(pcm), rate) == (8001, RATE)
    tags = read_tags(path)
    assert tags is not None and tags.prompt == "bells"


def test_a_wav_s_length_covers_the_tokens(tmp_path: Path) -> None:
    """Guards a header that players take for a damaged file."""
    path = tmp_path / "a.wav"
    for frames in (3, 4):
        _file(path, frames, AudioFormat(sample_rate=RATE))
        data = path.read_bytes()
        assert struct.unpack_from("<I", data, 4)[0] == len(data) - 8


@pytest.mark.parametrize("form", FORMS, ids=lambda f: f"{f.output_format}-{f.bit_depth}")
def test_of_a_file_that_was_changed_the_sound_counts(tmp_path: Path, form: AudioFormat) -> None:
    path = tmp_path / f"a.{form.output_format}"
    _file(path, 100, form)
    tags = read_tags(path)
    assert tags is not None
    pcm, _ = sf.read(path, dtype="float32", always_2d=True)
    pcm[4000] += 0.25
    path.write_bytes(encode(pcm, form, tags))
    assert read_tokens(path) is None


def _scramble_sound(data: bytearray) -> None:
    for at in range(len(data) - 6000, len(data) - 5000):
        data[at] ^= 0x5A


def _cut_sound(data: bytearray) -> None:
    del data[-4000:]


def _change_codec(data: bytearray) -> None:
    at = data.index(b"fmt ") + 8
    data[at : at + 2] = b"\x77\x77"


@pytest.mark.parametrize(
    ("ending", "damage"),
    [("flac", _scramble_sound), ("flac", _cut_sound), ("wav", _change_codec)],
)
def test_a_damaged_file_has_no_tokens_and_is_refused_as_any_other(
    tmp_path: Path, ending: str, damage: Callable[[bytearray], None]
) -> None:
    """An error of libsndfile ended the job."""
    path = tmp_path / f"a.{ending}"
    _file(path, 100, AudioFormat(ending, sample_rate=RATE))
    data = bytearray(path.read_bytes())
    damage(data)
    path.write_bytes(data)
    assert read_tags(path) is not None
    assert read_tokens(path) is None
    with pytest.raises(InvalidInputAudio):
        read_audio(path, is_foreign=True)


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_a_file_of_a_stranger_is_decoded_in_a_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """The tags of a flac, and the sound of both, were read by libsndfile in this process."""
    path = tmp_path / f"a.{ending}"
    _file(path, 100, AudioFormat(ending, sample_rate=RATE))
    assert read_tokens(path) is not None
    crash = tmp_path / "crash"
    crash.write_text("#!/bin/sh\nkill -SEGV $$\n")
    crash.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(crash))
    assert read_tokens(path) is None


@given(st.binary(max_size=200), st.integers(0, 127), st.booleans())
def test_any_flac_has_tags_or_none(block: bytes, kind: int, is_last: bool) -> None:
    head = bytes([kind | is_last << 7]) + len(block).to_bytes(3, "big")
    for data in (head + block, block, b"\x84\xff\xff\xff" + block):
        assert read_tags(b"fLaC" + data) is None


def test_files_without_tokens_have_none(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(encode(np.zeros((100, 1), np.float32), AudioFormat(sample_rate=RATE), TAGS))
    assert read_tokens(path) is None
    path.write_bytes(b"RIFF nothing")
    assert read_tokens(path) is None
    sound = io.BytesIO()
    sf.write(sound, np.zeros(100), 8000, format="OGG")
    path.write_bytes(sound.getvalue())
    assert read_tokens(path) is None


@given(
    st.one_of(
        st.text(max_size=50),
        st.dictionaries(
            st.sampled_from(["codebooks", "codec", "sound", "data"]),
            st.one_of(st.none(), st.integers(), st.text(max_size=20), st.floats(), st.booleans()),
        ).map(json.dumps),
    )
)
def test_anything_else_is_no_tokens(text: str) -> None:
    found = SavedTokens.from_text(text)
    assert found is None or found.codes.size


@pytest.mark.parametrize(
    "change",
    [
        {"codebooks": 0},
        {"codebooks": 3},
        {"codebooks": 10**9},
        {"data": "!!!"},
        {"data": "AAAA"},
        {"data": ""},
        {"codec": 7},
        {"sound": "7"},
        {"more": 1},
    ],
    ids=str,
)
def test_damaged_tokens_are_none(change: dict[str, Any]) -> None:
    fields = json.loads(_saved(10).to_text()) | change
    assert SavedTokens.from_text(json.dumps(fields)) is None


def test_a_bomb_is_not_unpacked() -> None:
    """Guards a kilobyte that becomes a gigabyte."""
    bomb = SavedTokens(np.zeros((1, 50_000_000), np.uint8), "mark", 0)
    assert len(bomb.to_text()) < 200_000
    found = SavedTokens.from_text(bomb.to_text())
    assert found is None or found.codes.size <= 2**19
