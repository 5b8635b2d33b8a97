"""Credentials of an input audio: kept as an ingredient, whatever its file holds."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import c2pa
import numpy as np
import pytest

from musicgen.audio.encode import encode
from musicgen.audio.marking import GENERATED
from musicgen.audio.tags import AudioTags
from musicgen.credentials import ingredient as ingredients
from musicgen.credentials.archive import TITLE
from musicgen.credentials.claim import MIXED, Claim
from musicgen.credentials.ingredient import NOT_KEPT, TOO_LARGE, read_ingredient
from musicgen.credentials.signing import ContentSigner
from musicgen.predictor.sealing import prepare_sealing
from musicgen.request import AudioFormat, GenerationRequest
from tests.support.recording_server import record
from tests.support.signing_keys import SigningKeys

CLAIM = Claim("demo", "Apache-2.0")


@pytest.fixture(scope="module")
def signer(keys: SigningKeys) -> ContentSigner:
    return ContentSigner(keys.settings)


def _encode(output_format: str) -> bytes:
    pcm = np.random.default_rng(5).uniform(-0.5, 0.5, (3200, 1)).astype(np.float32)
    tags = AudioTags("a", 1, "demo", "Apache-2.0", "g")
    return encode(pcm, AudioFormat(output_format=output_format, sample_rate=32000), tags)


def _continue(signer: ContentSigner, path: Path, *, continuation: bool = True) -> bytes:
    request = GenerationRequest(prompt="a", input_audio=path, continuation=continuation)
    sealing = prepare_sealing(signer, request, "demo", "Apache-2.0", is_streamed=False)
    data = _encode("wav")
    signed = b"".join(sealing.seal(iter([data]), "wav"))
    assert len(signed) - len(data) <= sealing.bytes_max
    return signed


@pytest.mark.parametrize("output_format", ["wav", "flac", "mp3"])
def test_a_continuation_keeps_the_credentials_of_the_first_clip(
    signer: ContentSigner, keys: SigningKeys, output_format: str, tmp_path: Path
) -> None:
    path = tmp_path / "secret-name"
    path.write_bytes(signer.sign(_encode(output_format), output_format, CLAIM))
    signed = _continue(signer, path)
    report = keys.read(signed)
    assert report.state == "trusted" and report.source_types == (GENERATED,)
    [kept] = report.ingredients
    assert kept["has_credentials"] and kept["relation"] == "parentOf"
    assert kept["source_types"] == [GENERATED] and kept["title"] == TITLE
    assert b"secret-name" not in signed
    # The clip continued twice has both.
    path.write_bytes(signed)
    assert [k["has_credentials"] for k in keys.read(_continue(signer, path)).ingredients] == [
        True,
        True,
    ]


@pytest.mark.parametrize("output_format", ["wav", "ogg", "opus", "mp3"])
def test_sound_of_unknown_origin_makes_a_clip_a_mixture(
    signer: ContentSigner, keys: SigningKeys, output_format: str, tmp_path: Path
) -> None:
    path = tmp_path / "song"
    path.write_bytes(_encode(output_format))
    report = keys.read(_continue(signer, path))
    assert report.state == "trusted" and report.source_types == (MIXED,)
    assert [k["has_credentials"] for k in report.ingredients] == [False]


def test_a_melody_is_an_input_and_no_beginning(
    signer: ContentSigner, keys: SigningKeys, tmp_path: Path
) -> None:
    path = tmp_path / "song"
    path.write_bytes(_encode("wav"))
    report = keys.read(_continue(signer, path, continuation=False))
    assert report.source_types == (GENERATED,)
    assert [k["relation"] for k in report.ingredients] == ["inputTo"]


def test_an_edited_clip_does_not_pass_as_the_model_s_own(
    signer: ContentSigner, keys: SigningKeys, tmp_path: Path
) -> None:
    path = tmp_path / "song"
    signed = bytearray(signer.sign(_encode("wav"), "wav", CLAIM))
    signed[2000] ^= 1
    path.write_bytes(signed)
    report = keys.read(_continue(signer, path))
    assert report.source_types == (MIXED,)
    assert report.state == "trusted", "the edit is in the history, and this clip is as signed"


@pytest.mark.parametrize("data", [b"", b"RIFF", b"ID3" * 999, bytes(9999), b"\xff\xfb" * 9999])
def test_damaged_files_have_no_credentials(
    signer: ContentSigner, keys: SigningKeys, data: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "song"
    path.write_bytes(data)
    assert keys.read(_continue(signer, path)).source_types == (MIXED,)


def test_credentials_too_large_to_keep_are_named(
    signer: ContentSigner, keys: SigningKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "song"
    path.write_bytes(signer.sign(_encode("wav"), "wav", CLAIM))
    monkeypatch.setattr(ingredients, "ARCHIVE_MAX", 1000)
    assert read_ingredient(path, "parentOf").note == TOO_LARGE
    assert keys.read(_continue(signer, path)).source_types == (MIXED,)


def test_a_crash_of_the_parser_costs_the_credentials_only(
    signer: ContentSigner,
    keys: SigningKeys,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    crashing_program: Path,
) -> None:
    path = tmp_path / "song"
    path.write_bytes(_encode("wav"))
    monkeypatch.setattr(sys, "executable", str(crashing_program))
    assert read_ingredient(path, "parentOf").note == NOT_KEPT
    assert keys.read(_continue(signer, path)).state == "trusted"
    request = GenerationRequest(prompt="a", input_audio=path, continuation=True)
    sealing = prepare_sealing(signer, request, "demo", "Apache-2.0", is_streamed=True)
    assert len(sealing.notes) == 2


def test_no_file_makes_the_reader_use_the_network(
    signer: ContentSigner, keys: SigningKeys, tmp_path: Path
) -> None:
    """A file may name an address of its manifest, which c2pa reads unless it is told not to."""
    path, remote = tmp_path / "song", io.BytesIO()
    with record() as server:
        url = f"{server.url}/manifest.c2pa"
        with c2pa.Builder(json.dumps({"claim_generator_info": [{"name": "x"}]})) as builder:
            builder.set_remote_url(url)
            builder.set_no_embed()
            builder.set_intent(
                c2pa.C2paBuilderIntent.CREATE,
                c2pa.C2paDigitalSourceType.TRAINED_ALGORITHMIC_MEDIA,
            )
            info = c2pa.C2paSignerInfo(
                "es256", keys.chain.read_bytes(), keys.key.read_bytes(), None
            )
            with c2pa.Signer.from_info(info) as own:
                builder.sign(own, "audio/wav", io.BytesIO(_encode("wav")), remote)
        assert url.encode() in remote.getvalue()
        path.write_bytes(remote.getvalue())
        assert keys.read(_continue(signer, path)).source_types == (MIXED,)
        keys.read(remote.getvalue())
        assert not server.connected
