"""Clips inside the answer: whole, with their type, and never more than the answer holds."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen.errors import InlineTooLarge
from musicgen.storage.base import ClipFile, ClipName
from musicgen.storage.inline import INLINE_MAX_BYTES, InlineStorage


def _clips(*sounds: bytes, content_type: str = "audio/wav") -> list[ClipFile]:
    names = [ClipName("job", index, len(sounds), "wav") for index in range(len(sounds))]
    return [
        ClipFile(name, [sound], content_type) for name, sound in zip(names, sounds, strict=True)
    ]


@given(st.lists(st.binary(max_size=100)))
def test_the_address_is_the_clip(blocks: list[bytes]) -> None:
    clip = ClipFile(ClipName("job", 0, 1, "wav"), blocks, "audio/wav")
    (address,) = InlineStorage().put_all([clip])
    head, _, data = address.partition(",")
    assert head == "data:audio/wav;base64"
    assert base64.b64decode(data, validate=True) == b"".join(blocks)


def test_a_type_with_a_parameter_keeps_it_without_the_blank() -> None:
    (address,) = InlineStorage().put_all(_clips(b"x", content_type="audio/ogg; codecs=opus"))
    assert address == "data:audio/ogg;codecs=opus;base64,eA=="


def test_the_limit_is_on_all_clips_of_a_job_together() -> None:
    assert len(InlineStorage(10).put_all(_clips(b"12345", b"67890"))) == 2
    with pytest.raises(InlineTooLarge):
        InlineStorage(10).put_all(_clips(b"12345", b"678901"))


@pytest.mark.parametrize("advice", ["9.0 MB", "7.0 MB", "MUSICGEN_BUCKET", "shorter", "mp3"])
def test_what_is_too_large_is_refused_before_it_is_made(advice: str) -> None:
    InlineStorage().prepare(INLINE_MAX_BYTES)
    with pytest.raises(InlineTooLarge, match=advice):
        InlineStorage().prepare(9_000_000)


def test_the_limit_leaves_room_in_ten_megabytes_of_json() -> None:
    (address,) = InlineStorage().put_all(_clips(bytes(INLINE_MAX_BYTES)))
    assert len(address) < 9_500_000


def test_one_storage_serves_any_number_of_jobs() -> None:
    storage = InlineStorage(10)
    for _ in range(3):
        assert len(storage.put_all(_clips(b"1234567890"))) == 1
