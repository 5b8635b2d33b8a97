"""Uploads: what they cost the API, and what is left of refused ones."""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile as sf

from tests.audio.test_bounded_reading import write_silence
from tests.support.audio_files import make_sines
from tests.support.clips import wav
from tests.support.ffmpeg_files import write_with_ffmpeg
from tests.support.health_watch import ANSWER_SECONDS, HealthWatch, peak_bytes, resident_bytes
from tests.support.job_server import JobServer, data_folder, job_server


@pytest.fixture(scope="module")
def api() -> Iterator[JobServer]:
    """An API alone: jobs wait."""
    settings = {"MUSICGEN_RATE_LIMIT": "100000/minute", "MUSICGEN_JOBS_PER_KEY": 1000}
    with data_folder() as folder, job_server(folder, "api", **settings) as running:
        yield running


def files_of(server: JobServer) -> list[str]:
    return sorted(path.name for path in (server.folder / "uploads").glob("*"))


def test_a_small_file_of_long_silence_costs_the_api_no_memory(
    api: JobServer, tmp_path: Path
) -> None:
    """Three hours of silence in 2 MB took 6 GB of the API."""
    write_silence(tmp_path / "silence", 600)
    data = (tmp_path / "silence").read_bytes()
    with HealthWatch(api.url, api.process.pid).run() as watch, ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: api.http.post("/v1/uploads", content=data), range(3)))
    assert [answer.json()["seconds"] for answer in answers] == [600.0] * 3
    assert watch.worst < ANSWER_SECONDS
    assert peak_bytes(api.process.pid) < 200e6


def test_few_uploads_are_received_at_once_of_one_caller(api: JobServer) -> None:
    """Each one holds a file, a connection and, later, a process."""
    at_once, over = 8, threading.Event()
    began = threading.Semaphore(0)

    def slow() -> Iterator[bytes]:
        yield wav(1)[:1000]
        began.release()
        over.wait(15)
        yield wav(1)[1000:]

    def send(content: Iterator[bytes] | bytes) -> int:
        return api.http.post("/v1/uploads", content=content).status_code

    with ThreadPoolExecutor(at_once + 1) as pool:
        try:
            held = [pool.submit(send, slow()) for _ in range(at_once)]
            for _ in range(at_once):
                assert began.acquire(timeout=10)
            time.sleep(0.3)
            last = pool.submit(send, wav(1))
            time.sleep(1)
            assert not last.done(), "it waits for a place"
            assert api.http.get("/healthz").status_code == 200
        finally:
            over.set()
        assert [each.result() for each in (*held, last)] == [201] * (at_once + 1)


def test_few_sounds_are_decoded_at_once(api: JobServer, tmp_path: Path) -> None:
    """Three small files took 6 GB together."""
    write_silence(tmp_path / "silence", 600)
    data = (tmp_path / "silence").read_bytes()
    own = psutil.Process(api.process.pid)
    most = 0
    with ThreadPoolExecutor(6) as pool:
        sent = [pool.submit(api.http.post, "/v1/uploads", content=data) for _ in range(6)]
        while not all(each.done() for each in sent):
            most = max(most, sum(map(_is_probe, own.children(recursive=True))))
            time.sleep(0.005)
    assert [each.result().status_code for each in sent] == [201] * 6
    assert 1 <= most <= 2


def _is_probe(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "musicgen.audio.probe" in process.cmdline()
    return False


def test_a_damaged_upload_is_refused_and_deleted(api: JobServer) -> None:
    before = files_of(api)
    for body in (b"", b"no sound at all" * 100, wav(1)[:30]):
        answer = api.http.post("/v1/uploads", content=body)
        assert answer.status_code == 422, answer.text
        error = answer.json()["error"]
        assert (error["code"], error["field"]) == ("invalid_input_audio", "body")
        # The name of the file on the server told its user nothing.
        assert ".tmp" not in error["message"]
    assert "Send wav, flac" in error["message"]
    assert files_of(api) == before


def test_every_container_is_measured(api: JobServer) -> None:
    pcm = make_sines(24_000, 1, 48_000)
    for kind in ("m4a", "alac", "aac", "mp4", "webm", "oggflac"):
        answer = api.http.post("/v1/uploads", content=write_with_ffmpeg(kind, pcm, 48_000))
        assert answer.status_code == 201, (kind, answer.text)
        assert answer.json()["seconds"] == pytest.approx(0.5, abs=0.05)


def test_the_page_offers_the_files_that_are_read(api: JobServer) -> None:
    page = api.http.get("/").text
    [accepted] = re.findall(r'accept="([^"]*\.wav[^"]*)"', page)
    assert {".m4a", ".aac", ".mp4", ".webm", ".opus", ".aiff"} <= set(accepted.split(","))


def test_a_form_is_refused_with_the_right_way(api: JobServer) -> None:
    """`curl -F file=@FILE` was answered with "is not readable audio", whatever the file."""
    answer = api.http.post("/v1/uploads", files={"file": ("sound.wav", wav(1))})
    assert answer.status_code == 422
    assert "not a form. With curl: --data-binary @FILE." in answer.json()["error"]["message"]


def test_an_upload_that_is_hung_up_on_is_deleted(api: JobServer) -> None:
    before = files_of(api)
    began = threading.Event()

    def endless() -> Iterator[bytes]:
        yield wav(1)
        yield bytes(2**20)
        began.set()
        raise ConnectionError

    with pytest.raises(ConnectionError):
        api.http.post("/v1/uploads", content=endless())
    assert began.is_set()
    end = time.monotonic() + 5
    while files_of(api) != before:
        assert time.monotonic() < end, files_of(api)
        time.sleep(0.02)


@pytest.mark.slow
def test_large_uploads_at_once_stay_small(api: JobServer) -> None:
    """Eight of 95 MB took over 1 GiB: the process was killed, and no caller had an answer."""
    sound = io.BytesIO()
    pcm = np.random.default_rng(1).uniform(-1, 1, (95_000_000 // 4, 2)).astype(np.float32)
    sf.write(sound, pcm, 48_000, format="WAV", subtype="PCM_16")
    data = sound.getvalue()
    before = resident_bytes(api.process.pid)
    with HealthWatch(api.url, api.process.pid).run() as watch, ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: api.http.post("/v1/uploads", content=data, timeout=120), range(8))
        )
    assert [answer.status_code for answer in answers] == [201] * 8
    assert watch.worst < ANSWER_SECONDS
    assert peak_bytes(api.process.pid) < 200e6
    assert resident_bytes(api.process.pid) < 1.2 * before
