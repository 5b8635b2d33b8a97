"""The whole sound is read, in every container, whatever its header says of the length."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from musicgen.audio import mp3_frames
from musicgen.audio.decode import measure_audio, read_audio
from musicgen.audio.encode import encode
from musicgen.audio.ogg_pages import read_pages
from musicgen.audio.pcm import Pcm
from musicgen.audio.tags import AudioTags
from musicgen.errors import InvalidContinuation, InvalidInputAudio
from musicgen.request import AudioFormat
from tests.support.audio_files import assert_refused, encode_file, make_sines
from tests.support.ffmpeg_files import KINDS, add_itunes_gapless, write_mp3, write_with_ffmpeg

RATE = 48_000
TAGS = AudioTags("bells", 7, "demo", "Apache-2.0", "test")
GAPLESS = ["alac", "webm", "mka", "oggflac", "ogg-opus", "flac"]
FRAME = 1024
"""Samples of a frame of AAC. An MP4 of ffmpeg declares its length in milliseconds."""
SURPLUS = {**dict.fromkeys(GAPLESS, 0), "m4a": 48, "mp4": 48, "mov": 48, "aac": 2 * FRAME}


def _encode(form: str, pcm: Pcm) -> bytes:
    return encode(pcm, AudioFormat(form, sample_rate=RATE), TAGS)


def _measure_error(read: Pcm, meant: Pcm) -> float:
    return float(10 * np.log10(np.mean((read - meant) ** 2) / np.mean(meant**2) + 1e-12))


def _make_sagging_noise(seconds: int, rate: int = RATE) -> Pcm:
    """Noise with loud ends: the first bitrate is above the mean one, so its estimate is too low."""
    noise = np.random.default_rng(0).normal(0, 0.2, (seconds * rate, 2))
    envelope = np.abs(np.linspace(-1, 1, seconds * rate)) ** 3
    return (noise * envelope[:, None]).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_container_is_read_whole_and_without_its_gaps(
    upload: Path, kind: str, channels: int
) -> None:
    pcm = make_sines(2 * RATE + 1_001, channels, RATE)
    upload.write_bytes(write_with_ffmpeg(kind, pcm, RATE))
    read, rate = read_audio(upload)
    assert (rate, read.shape[1]) == (RATE, channels)
    assert 0 <= len(read) - len(pcm) <= SURPLUS[kind]
    assert measure_audio(upload) == len(read) / RATE
    # ADTS does not tell the delay of its encoder.
    start = FRAME if kind == "aac" else 0
    middle = slice(RATE // 2, RATE)
    shifted = slice(middle.start + start, middle.stop + start)
    assert _measure_error(read[shifted], pcm[middle]) < -24


@pytest.mark.parametrize("kind", ["m4a", "webm", "oggflac"])
def test_a_part_of_a_container_is_that_part(upload: Path, kind: str) -> None:
    upload.write_bytes(write_with_ffmpeg(kind, make_sines(2 * RATE, 2, RATE), RATE))
    whole, _ = read_audio(upload)
    part, _ = read_audio(upload, start=0.5, stop=1.25, max_channels=1)
    assert part.shape == (RATE * 3 // 4, 1)
    np.testing.assert_allclose(part[:, 0], whole[RATE // 2 : RATE * 5 // 4].mean(axis=1), atol=1e-6)
    with pytest.raises(InvalidContinuation, match=r"before the end of the clip at 2\.0"):
        read_audio(upload, start=2.5)


def test_a_container_longer_than_allowed_is_refused(upload: Path) -> None:
    upload.write_bytes(write_with_ffmpeg("webm", make_sines(2 * RATE, 1, RATE), RATE))
    assert len(read_audio(upload, max_seconds=2)[0]) == 2 * RATE
    assert_refused(upload, "longer than 1 s", max_seconds=1)


@pytest.mark.parametrize("kind", ["aac", "webm", "mka", "ogg-opus"])
def test_a_recording_that_ends_too_early_counts_as_far_as_it_goes(upload: Path, kind: str) -> None:
    whole = write_with_ffmpeg(kind, make_sines(4 * RATE, 1, RATE), RATE)
    upload.write_bytes(whole[: len(whole) * 3 // 4])
    assert RATE < len(read_audio(upload)[0]) < 4 * RATE


def test_a_hole_in_a_recording_is_refused(upload: Path) -> None:
    aac = write_with_ffmpeg("aac", make_sines(2 * RATE, 1, RATE), RATE)
    middle = len(aac) // 2
    upload.write_bytes(aac[:middle] + bytes(2_000) + aac[middle + 2_000 :])
    assert_refused(upload, "is damaged after 1.0")


@pytest.mark.parametrize("form", ["ogg", "opus", "flac", "wav"])
def test_a_file_of_too_many_joined_sounds_is_refused(upload: Path, form: str) -> None:
    upload.write_bytes(_encode(form, make_sines(480, 1, RATE)) * 1_002)
    assert_refused(upload, "joined of more than 1000 sounds")


def test_an_mp3_of_the_smallest_frames_costs_little(
    upload: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 MB of frames of 24 bytes are four million; 150,000 of them are an hour."""
    frame = b"\xff\xf3\x14\xc0" + bytes(20)
    upload.write_bytes(frame * 400_000)
    read_frame, read = mp3_frames.read_frame, []

    def read_counted(data: bytes, at: int) -> mp3_frames.Frame | None:
        read.append(at)
        return read_frame(data, at)

    monkeypatch.setattr(mp3_frames, "read_frame", read_counted)
    with pytest.raises(InvalidInputAudio, match="longer than 3600 s"):
        read_audio(upload)
    assert len(read) < 160_000


def test_an_mp3_with_very_many_false_frames_is_refused(upload: Path) -> None:
    """Each of them is looked at, and is followed by none."""
    mp3 = _encode("mp3", make_sines(RATE, 2, RATE))
    upload.write_bytes(mp3 + b"\xff\xfb\x90\0\0" * 30_000)
    assert_refused(upload, "a part of it is not MP3")


@pytest.mark.parametrize("variable", [True, False], ids=["VBR", "CBR"])
@pytest.mark.parametrize("rate", [16_000, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_an_mp3_without_a_header_is_read_whole(
    upload: Path, variable: bool, rate: int, channels: int
) -> None:
    """Of 12 s with a variable bitrate 2 to 7 s were read, without a word."""
    pcm = _make_sagging_noise(12, rate)[:, :channels]
    upload.write_bytes(write_mp3(pcm, rate, variable))
    read, _ = read_audio(upload)
    # The delay and padding of an encoder, of which nothing is told.
    assert 0 < len(read) - len(pcm) < 3 * 1152 + 1105
    loudness = np.sqrt(np.mean(read[-rate // 2 : -2_400] ** 2))
    assert loudness == pytest.approx(np.sqrt(np.mean(pcm[-rate // 2 :] ** 2)), rel=0.2)


def test_an_mp3_with_a_header_keeps_its_exact_length(upload: Path) -> None:
    pcm = make_sines(3 * RATE + 17, 2, RATE)
    upload.write_bytes(_encode("mp3", pcm))
    assert len(read_audio(upload)[0]) == len(pcm)


def test_an_mp3_that_was_cut_has_the_length_of_its_frames(upload: Path) -> None:
    data = _encode("mp3", make_sines(3 * RATE, 2, RATE))
    upload.write_bytes(data[: len(data) // 2])
    assert len(read_audio(upload)[0]) == pytest.approx(1.5 * RATE, abs=3 * 1152)


@pytest.mark.parametrize("form", ["mp3", "ogg", "opus", "flac", "wav"])
def test_joined_files_are_read_one_after_the_other(upload: Path, form: str) -> None:
    """Only the first one was read, without a word."""
    pcm = make_sines(RATE + 480, 2, RATE)
    first, second = _encode(form, pcm), _encode(form, 0.5 * pcm)
    upload.write_bytes(first + second)
    read, _ = read_audio(upload)
    assert len(read) == 2 * len(pcm)
    assert _measure_error(read, np.concatenate([pcm, 0.5 * pcm])) < -30
    assert measure_audio(upload) == len(read) / RATE


def test_joined_aiff_files_are_read_one_after_the_other(upload: Path) -> None:
    pcm = make_sines(RATE, 2, RATE)
    upload.write_bytes(encode_file("aiff", pcm, RATE) * 3)
    assert len(read_audio(upload)[0]) == 3 * RATE


def test_joined_mp3_without_headers_are_read_whole(upload: Path) -> None:
    pcm = _make_sagging_noise(3)
    upload.write_bytes(write_mp3(pcm, RATE) + _encode("mp3", pcm) + b"TAG" + bytes(125))
    assert len(read_audio(upload)[0]) == pytest.approx(2 * len(pcm), abs=4 * 1152)


def test_tags_between_and_around_frames_are_no_sound(upload: Path) -> None:
    pcm = make_sines(RATE, 2, RATE)
    picture = b"ID3\x04\0\0\0\0\x7f\x7f" + b"\xff\xfb\x90\x64" * 4096
    ape = b"APETAGEX" + (2000).to_bytes(4, "little") * 2 + bytes(4) + b"\0\0\0\xa0" + bytes(8)
    data = picture[: 10 + 127 * 128 + 127] + _encode("mp3", pcm) + ape
    upload.write_bytes(data)
    assert len(read_audio(upload)[0]) == RATE


def test_a_tag_longer_than_the_file_hides_no_frames(upload: Path) -> None:
    data = _encode("mp3", make_sines(RATE, 2, RATE))
    upload.write_bytes(data + b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + data)
    assert len(read_audio(upload)[0]) == 2 * RATE


@pytest.mark.parametrize("form", ["mp3", "ogg", "flac", "wav"])
def test_joined_files_of_different_rates_are_refused(upload: Path, form: str) -> None:
    pcm = make_sines(16_000, 1, 16_000)
    other = encode(pcm, AudioFormat(form, sample_rate=16_000), TAGS)
    upload.write_bytes(_encode(form, make_sines(RATE, 1, RATE)) + other)
    assert_refused(upload, "different sample rates or channels")


def test_a_flac_longer_than_its_header_says_is_refused(upload: Path) -> None:
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, (4 * RATE, 2)).astype(np.float32)
    flac = bytearray(encode_file("flac", noise, RATE))
    kept = int.from_bytes(flac[18:26], "big") >> 36 << 36
    flac[18:26] = (kept | RATE).to_bytes(8, "big")
    upload.write_bytes(flac)
    assert_refused(upload, "longer than its header says")


@pytest.mark.parametrize("declared", [0, 8, 4_000])
@pytest.mark.parametrize(("kind", "chunk"), [("wav", b"data"), ("aiff", b"SSND")])
def test_a_header_that_counts_too_few_samples_hides_none(
    upload: Path, kind: str, chunk: bytes, declared: int
) -> None:
    """A recorder that was cut off writes its first header; 4,000 bytes were read."""
    data = bytearray(encode_file(kind, make_sines(RATE, 2, RATE), RATE))
    at = data.index(chunk) + 4
    data[at : at + 4] = declared.to_bytes(4, "little" if kind == "wav" else "big")
    upload.write_bytes(data)
    assert_refused(upload, "longer than its header says")


def test_tags_and_zeros_behind_a_wav_are_no_sound(upload: Path) -> None:
    wav = encode_file("wav", make_sines(RATE, 2, RATE), RATE)
    for rest in (bytes(10_000), b"ID3\x04" + b"\x01" * 10_000, b"LIST\x10\x27\0\0" + b"a" * 10_000):
        upload.write_bytes(wav + rest)
        assert len(read_audio(upload)[0]) == RATE


@pytest.mark.parametrize("granule", [0, 1_000])
@pytest.mark.parametrize("form", ["ogg", "opus"])
def test_an_ogg_that_declares_too_little_is_read_whole(
    upload: Path, form: str, granule: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (4 * RATE, 2)).astype(np.float32)
    pages = list(read_pages(_encode(form, noise)))
    pages[-1] = replace(pages[-1], granule=granule)
    upload.write_bytes(b"".join(page.to_bytes() for page in pages))
    assert len(read_audio(upload)[0]) > 3.8 * RATE
    monkeypatch.setitem(sys.modules, "av", None)
    assert_refused(upload, r"pip install -e '\.\[containers\]'")


@pytest.mark.parametrize("kind", ["m4a", "aac", "webm", "oggflac"])
def test_without_the_extra_the_refusal_names_it(
    upload: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    upload.write_bytes(write_with_ffmpeg(kind, make_sines(RATE, 1, RATE), RATE))
    monkeypatch.setitem(sys.modules, "av", None)
    name = {"m4a": "MP4", "aac": "AAC", "webm": "WebM", "oggflac": "Ogg of FLAC"}[kind]
    assert_refused(upload, rf"is {name}.*pip install -e '\.\[containers\]'.*Send wav.*opus or aiff")


def test_an_mp3_is_whole_without_the_extra(upload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    pcm = _make_sagging_noise(6)
    upload.write_bytes(write_mp3(pcm, RATE) * 2)
    assert len(read_audio(upload)[0]) > 2 * len(pcm)


def test_a_video_without_sound_is_refused(upload: Path) -> None:
    with av.open(str(upload), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode(None))
    assert_refused(upload, "holds no audio")


@pytest.mark.parametrize("has_edit_list", ["0", "1"])
def test_an_m4a_with_the_comment_of_itunes_is_exact(upload: Path, has_edit_list: str) -> None:
    pcm = make_sines(2 * RATE + 1_001, 2, RATE)
    m4a = write_with_ffmpeg("m4a", pcm, RATE, use_editlist=has_edit_list)
    upload.write_bytes(add_itunes_gapless(m4a, FRAME, len(pcm)))
    read, _ = read_audio(upload)
    assert len(read) == len(pcm)
    assert _measure_error(read[480:-480], pcm[480:-480]) < -24


def test_an_mp4_in_fragments_is_read_whole(upload: Path) -> None:
    """Browsers record in fragments: the header tells no length."""
    pcm = make_sines(2 * RATE, 2, RATE)
    flags = "frag_keyframe+empty_moov+default_base_moof"
    upload.write_bytes(write_with_ffmpeg("mp4", pcm, RATE, movflags=flags, frag_duration="500000"))
    assert len(read_audio(upload)[0]) == pytest.approx(len(pcm), abs=2 * FRAME)


def test_a_declared_length_that_is_wrong_hides_no_sound(upload: Path) -> None:
    pcm = make_sines(2 * RATE, 2, RATE)
    m4a = write_with_ffmpeg("m4a", pcm, RATE, use_editlist="0")
    upload.write_bytes(add_itunes_gapless(m4a, FRAME, 1_000))
    assert len(read_audio(upload)[0]) >= len(pcm)


def test_an_ogg_stream_recorded_from_its_middle_is_read_whole(upload: Path) -> None:
    """Its granules do not count from 0."""
    noise = np.random.default_rng(0).normal(0, 0.1, (4 * RATE, 2)).astype(np.float32)
    pages = list(read_pages(_encode("ogg", noise)))
    moved = [
        replace(page, granule=page.granule + 10**6 if page.granule > 0 else page.granule)
        for page in pages[:2] + pages[3:]
    ]
    upload.write_bytes(b"".join(page.to_bytes() for page in moved))
    expected = len(noise) - pages[2].granule
    assert len(read_audio(upload)[0]) == pytest.approx(expected, abs=2048)
