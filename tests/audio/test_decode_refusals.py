"""Files of callers that are no audio, damaged or lying are refused by the field's name."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.audio.decode import read_audio
from musicgen.audio.deterministic import set_ogg_serial
from musicgen.audio.ogg_pages import read_pages
from musicgen.errors import InvalidInputAudio
from tests.support.audio_files import (
    KINDS,
    LOSSLESS,
    SECRET_FOLDER,
    assert_refused,
    encode_file,
    make_flac_claiming,
    make_sines,
)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(range(256)) * 100 + b"\xff\xd9",
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 100,
        b"It is not audio, it is prose.\n" * 300,
        b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        bytes(10_000),
        b"\xff" * 10_000,
        b"RIFF\xff\xff\xff\xffWAVE",
        b"ID3\x04\0\0\0\0\0\x0a" + bytes(10),
        b"\x00",
        b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom\0\0\0\0" + bytes(range(256)) * 100,
        b"PK\x03\x04" + bytes(range(256)) * 100,
    ],
    ids=[
        *("jpeg", "png", "text", "html", "zeros", "ones", "wav without chunks", "tag only"),
        *("byte", "m4a", "zip"),
    ],
)
@pytest.mark.parametrize("name", ["song.wav", "song.raw"])
def test_what_is_not_audio_is_refused_whatever_it_is_called(
    upload: Path, content: bytes, name: str
) -> None:
    path = upload.with_name(name)
    path.write_bytes(content)
    assert_refused(path, "not readable audio")


@pytest.mark.parametrize("container", ["AU", "W64", "CAF", "VOC"])
def test_other_containers_are_refused_by_name(upload: Path, container: str) -> None:
    sf.write(str(upload), make_sines(1000, 1, 8_000), 8_000, format=container, subtype="PCM_16")
    assert_refused(upload, rf"unsupported format, {container} .*Send wav")


def test_what_is_no_file_is_refused(upload: Path) -> None:
    assert_refused(upload, "not an existing file")
    assert_refused(upload.parent / ("x" * 300), "cannot be read")
    folder = upload.with_name("song.wav")
    folder.mkdir()
    assert_refused(folder, "not an existing file")
    upload.touch()
    assert_refused(upload, "is an empty file")


def test_a_named_pipe_is_refused_rather_than_waited_for(upload: Path) -> None:
    os.mkfifo(upload)
    assert_refused(upload, "not an existing file")


def test_a_file_that_may_not_be_read_is_refused(upload: Path) -> None:
    """Guards a `PermissionError` that used to escape when the folder was closed to the process."""
    upload.write_bytes(encode_file("wav", make_sines(100, 1, 8_000), 8_000))
    opened = _as_nobody(upload.parents[1])
    for closed in (upload, upload.parent):
        mode = closed.stat().st_mode
        closed.chmod(0)
        try:
            if opened:
                _in_child_as_nobody(upload)
            else:
                assert_refused(upload, "cannot be read: Permission denied")
        finally:
            closed.chmod(mode)


def _as_nobody(folder: Path) -> bool:
    """Whether a child must drop root's rights first; opens the way to `folder` for it."""
    if os.geteuid() != 0:
        return False
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == 0 and parent.name.startswith("pytest"):
            parent.chmod(0o755)
    return True


def _in_child_as_nobody(path: Path) -> None:
    pid = os.fork()
    if pid == 0:  # the child keeps the imported modules, so it needs no right to read them
        status = 1
        try:
            os.setgid(65534)
            os.setuid(65534)
            assert_refused(path, "cannot be read: Permission denied")
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@settings(max_examples=40)
@given(st.sampled_from(sorted(KINDS)), st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused_or_gives_its_first_part(
    tmp_path_factory: pytest.TempPathFactory, kind: str, share: float
) -> None:
    pcm = make_sines(20_000, 2, 48_000)
    whole = encode_file(kind, pcm, 48_000)
    folder = tmp_path_factory.mktemp("cut") / SECRET_FOLDER
    folder.mkdir()
    path = folder / "cut"
    path.write_bytes(whole[: int(share * len(whole))])
    try:
        read, rate = read_audio(path)
    except InvalidInputAudio:
        assert_refused(path)
        return
    assert rate == 48_000
    assert 0 < len(read) <= len(pcm)
    if kind in LOSSLESS:
        assert np.abs(read - pcm[: len(read)]).max() <= 2**-15
    assert np.isfinite(read).all()


@settings(max_examples=60)
@given(st.sampled_from(sorted(KINDS)), st.data())
def test_damaged_bytes_never_give_anything_but_audio_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    damaged = bytearray(encode_file(kind, make_sines(3000, 2, 48_000), 48_000))
    where = st.integers(0, min(len(damaged), 200) - 1) | st.integers(0, len(damaged) - 1)
    for at in data.draw(st.lists(where, min_size=1, max_size=8)):
        damaged[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "file"
    path.write_bytes(damaged)
    try:
        read, rate = read_audio(path)
    except InvalidInputAudio as error:
        assert error.field == "input_audio"
        return
    assert read.ndim == 2
    assert read.size > 0
    assert rate > 0
    assert np.isfinite(read).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 70_000])
def test_nan_and_infinity_are_refused_wherever_they_are(
    upload: Path, value: float, at: int
) -> None:
    pcm = make_sines(80_000, 1, 48_000)
    pcm[at] = value
    upload.write_bytes(encode_file("wav-float", pcm, 48_000))
    assert_refused(upload, "NaN or infinity")


def test_a_header_without_samples_is_refused(upload: Path) -> None:
    upload.write_bytes(encode_file("wav", make_sines(0, 1, 8_000), 8_000))
    assert_refused(upload, "holds no audio")


def test_a_vorbis_file_of_damaged_packets_is_not_called_empty(upload: Path) -> None:
    """Its pages are intact and count samples, so libsndfile reads 0 of them without an error."""
    vorbis = encode_file("ogg", make_sines(80_000, 1, 8_000), 8_000)
    pages = [
        page if page.granule == 0 else replace(page, body=b"\xff" * len(page.body))
        for page in read_pages(vorbis)
    ]
    upload.write_bytes(b"".join(page.to_bytes() for page in pages))
    with sf.SoundFile(upload) as sound:
        assert sound.frames > 0
        assert len(sound.read()) == 0
    assert_refused(upload, "is not readable audio, or is damaged .* Send wav")


def test_the_longest_clip_is_read_and_one_sample_more_is_refused(upload: Path) -> None:
    for samples in (8_000, 8_001):
        upload.write_bytes(encode_file("wav", make_sines(samples, 1, 8_000), 8_000))
        if samples == 8_000:
            assert len(read_audio(upload, max_seconds=1)[0]) == samples
        else:
            assert_refused(upload, "longer than 1 s .*It has 1.0 s", max_seconds=1)


def test_a_flac_that_was_streamed_is_read_whole_or_refused_with_the_reason(
    upload: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its header counts 0 samples; libsndfile then claims 2^63, which once read as 10^14 s."""
    upload.write_bytes(make_flac_claiming(0))
    assert len(read_audio(upload)[0]) == 48_000
    monkeypatch.setitem(sys.modules, "av", None)
    assert_refused(upload, "is FLAC without a length, a format of the extra containers")


def _wav_claiming(samples: int) -> bytes:
    wav = bytearray(encode_file("wav", make_sines(48_000, 2, 48_000), 48_000))
    wav[4:8], wav[40:44] = struct.pack("<I", 4 * samples + 36), struct.pack("<I", 4 * samples)
    return bytes(wav)


def _aiff_claiming(samples: int) -> bytes:
    aiff = bytearray(encode_file("aiff", make_sines(48_000, 2, 48_000), 48_000))
    at = aiff.index(b"COMM") + 10
    aiff[at : at + 4] = struct.pack(">I", samples)
    return bytes(aiff)


def _ogg_claiming(samples: int) -> bytes:
    # Noise fills many pages; on its only page, the claim would be read as where the clip starts.
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (48_000, 2)).astype(np.float32)
    ogg = bytearray(encode_file("ogg", noise, 48_000))
    at = ogg.rindex(b"OggS") + 6
    ogg[at : at + 8] = struct.pack("<Q", samples)
    return set_ogg_serial(bytes(ogg), 1)


CLAIMS = [make_flac_claiming, _wav_claiming, _aiff_claiming, _ogg_claiming]


@pytest.mark.parametrize("claiming", CLAIMS, ids=["flac", "wav", "aiff", "ogg"])
def test_a_small_file_that_claims_to_be_long_costs_little_memory(
    upload: Path, claiming: Callable[[int], bytes]
) -> None:
    """46 minutes of stereo, 1 GiB, are claimed by a file of 1 s."""
    upload.write_bytes(claiming(2**27))
    measured = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEASURE), str(upload)],
        check=True,
        capture_output=True,
        text=True,
    )
    samples, kilobytes = map(int, measured.stdout.split())
    assert samples < 50_000
    assert kilobytes < 64_000


MEASURE = """
    import resource, sys
    from pathlib import Path
    from musicgen.audio.decode import read_audio
    from musicgen.errors import InvalidContinuation, InvalidInputAudio
    def used():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    before = used()
    try:
        samples = len(read_audio(Path(sys.argv[1]))[0])
    except InvalidInputAudio:
        samples = 0
    print(samples, used() - before)
"""


@pytest.mark.parametrize("claiming", [make_flac_claiming, _ogg_claiming], ids=["flac", "ogg"])
def test_a_claim_beyond_the_longest_clip_is_refused_by_the_header(
    upload: Path, claiming: Callable[[int], bytes]
) -> None:
    upload.write_bytes(claiming(2**35))
    assert_refused(upload, "longer than 3600 s")


@pytest.mark.parametrize(
    ("channels", "rate", "seconds", "problem"),
    [
        (8, 48_000, 1500, "too large"),
        (1000, 8_000, 1, "more than 8 channels .*It has 1000"),
        (1, 3_999, 1, "sample rate from 4000 to 384000 Hz .*It has 3999 Hz"),
        (1, 384_001, 1, "sample rate"),
    ],
)
def test_claims_outside_the_limits_are_refused_by_the_header(
    upload: Path, channels: int, rate: int, seconds: int, problem: str
) -> None:
    """The file is sparse. A block of a thousand channels alone took 256 MB."""
    data_bytes = channels * rate * seconds
    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", data_bytes + 36, b"WAVE", b"fmt ", 16, 1, channels, rate,
        rate * channels, channels, 8, b"data", data_bytes,
    )  # fmt: skip
    with upload.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + data_bytes)
    assert_refused(upload, problem)
