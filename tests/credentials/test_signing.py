"""Signed files: what they say, what readers make of them, and what breaks the signature."""

from __future__ import annotations

import io
from pathlib import Path

import av
import mutagen
import mutagen.flac
import numpy as np
import pytest
import soundfile as sf

from musicgen.audio.decode import read_audio
from musicgen.audio.encode import encode
from musicgen.audio.marking import GENERATED
from musicgen.audio.tags import AudioTags, read_tags
from musicgen.audio.tempo import Tempo
from musicgen.credentials.claim import Claim
from musicgen.credentials.signing import ContentSigner
from musicgen.request import AudioFormat
from tests.support.signing_keys import SigningKeys

CLAIM = Claim("facebook/musicgen-small", "CC-BY-NC-4.0")
TAGS = AudioTags(
    "a flute — 笛", 7, "facebook/musicgen-small", "CC-BY-NC-4.0", "g 1", tempo=Tempo(120.0, 4, True)
)
SIGNED = ("wav", "flac", "mp3")


@pytest.fixture(scope="module")
def signer(keys: SigningKeys) -> ContentSigner:
    return ContentSigner(keys.settings)


def _encode(output_format: str, channels: int = 2, rate: int = 32_000, **fields: object) -> bytes:
    pcm = np.random.default_rng(5).uniform(-0.5, 0.5, (16000, channels)).astype(np.float32)
    tags = AudioTags(**{**TAGS.__dict__, **fields})
    return encode(pcm, AudioFormat(output_format=output_format, sample_rate=rate), tags)


@pytest.mark.parametrize("rate", [32_000, 16_000])
@pytest.mark.parametrize("output_format", SIGNED)
def test_a_signed_file_names_its_maker(
    signer: ContentSigner, keys: SigningKeys, output_format: str, rate: int
) -> None:
    """AudioGen's files have 16 kHz, and an mp3 of another kind (MPEG-2)."""
    report = keys.read(signer.sign(_encode(output_format, rate=rate), output_format, CLAIM))
    assert report.state == "trusted"
    assert report.source_types == (GENERATED,)
    assert report.model == "facebook/musicgen-small"
    assert report.licence == "CC-BY-NC-4.0 (licence of the model's weights)"
    assert report.problems == report.ingredients == ()
    assert report.manifest is not None
    [actions] = [a for a in report.manifest["assertions"] if a["label"].startswith("c2pa.actions")]
    [action] = actions["data"]["actions"]
    assert action["action"] == "c2pa.created" and action["when"].endswith("Z")


@pytest.mark.parametrize("output_format", SIGNED)
def test_a_changed_byte_is_told(
    signer: ContentSigner, keys: SigningKeys, output_format: str
) -> None:
    """One at the beginning of the sound, one at its end, and one in the tags."""
    signed = signer.sign(_encode(output_format), output_format, CLAIM)
    tag = signed.index(b"musicgen-small")
    for place in (tag, len(signed) // 2, len(signed) - 1):
        changed = bytearray(signed)
        changed[place] ^= 1
        report = keys.read(bytes(changed))
        assert report.state == "invalid" and report.problems, place


@pytest.mark.parametrize("output_format", SIGNED)
def test_a_change_beside_the_manifest_is_told(
    signer: ContentSigner, keys: SigningKeys, output_format: str
) -> None:
    """Only the manifest's own padding may change untold."""
    signed = signer.sign(_encode(output_format, channels=1), output_format, CLAIM)
    start = signed.index(b"jumb") - 256
    places = np.random.default_rng(1).choice(len(signed), 60, replace=False)
    for place in (int(p) for p in places if not start <= p < start + 5_000):
        changed = bytearray(signed)
        changed[place] ^= 1
        assert keys.read(bytes(changed)).state != "trusted", place


@pytest.mark.parametrize("rate", [32_000, 16_000])
@pytest.mark.parametrize("output_format", SIGNED)
def test_readers_play_a_signed_file(
    signer: ContentSigner, output_format: str, rate: int, tmp_path: Path
) -> None:
    """A signed flac begins with an ID3 tag; libsndfile, ffmpeg and mutagen pass over it."""
    plain = _encode(output_format, rate=rate)
    path = tmp_path / f"clip.{output_format}"
    path.write_bytes(signer.sign(plain, output_format, CLAIM))
    expected, _ = sf.read(io.BytesIO(plain), dtype="float32", always_2d=True)
    assert np.array_equal(sf.read(path, dtype="float32", always_2d=True)[0], expected)
    for is_foreign in (False, True):
        pcm, own_rate = read_audio(path, is_foreign=is_foreign)
        assert own_rate == rate
        # libsndfile rounds an mp3 of 16 kHz otherwise when it is read in blocks.
        np.testing.assert_allclose(pcm, expected, atol=1e-6)
    with av.open(str(path)) as file:
        assert sum(frame.samples for frame in file.decode(audio=0)) == len(expected)
        assert "CC-BY-NC-4.0" in file.metadata["comment"]
    found = mutagen.File(path)
    assert found is not None and found.info.length == pytest.approx(16_000 / rate, abs=0.1)
    if output_format == "flac":
        assert path.read_bytes()[:3] == b"ID3"
        assert mutagen.flac.FLAC(path)["loopstart"] == ["0"]


@pytest.mark.parametrize("output_format", SIGNED)
def test_tags_and_tokens_survive_the_signature(signer: ContentSigner, output_format: str) -> None:
    fields = {} if output_format == "mp3" else {"tokens": "t" * 70_000}
    plain = _encode(output_format, **fields)
    assert read_tags(signer.sign(plain, output_format, CLAIM)) == read_tags(plain)
    assert read_tags(plain) == AudioTags(**{**TAGS.__dict__, **fields})


def test_signing_twice_differs_and_the_sound_does_not(signer: ContentSigner) -> None:
    plain = _encode("wav")
    first, second = (signer.sign(plain, "wav", CLAIM) for _ in range(2))
    assert first != second
    assert np.array_equal(sf.read(io.BytesIO(first))[0], sf.read(io.BytesIO(second))[0])


def test_a_signer_shows_no_key(signer: ContentSigner, keys: SigningKeys) -> None:
    shown = f"{signer._files!r} {vars(signer)!r} {keys.settings!r}"
    signed = signer.sign(_encode("wav"), "wav", CLAIM)
    assert not any(line in shown or line.encode() in signed for line in keys.secrets)
