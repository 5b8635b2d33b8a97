"""The worker loop of RunPod's own SDK around runpod_handler.py, on a queue of ours."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
import soundfile
from moto.server import ThreadedMotoServer

from tests.support.runpod_queue import (
    DEADLINE,
    Queue,
    Worker,
    job,
    local_process,
    runpod_queue,
    runpod_worker,
    until,
)

SMALL = {"temperature": 0.0, "output_format": "mp3", "bitrate": 64}
"""Makes long music a small answer."""
SLOTS = 3


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Queue, Worker]]:
    folder = tmp_path_factory.mktemp("worker")
    settings = {"MUSICGEN_SLOTS": str(SLOTS), "MUSICGEN_BUCKET_NETWORKS": "127.0.0.1/32"}
    with runpod_queue() as queue, runpod_worker(queue, folder, **settings) as known:
        yield queue, known


@pytest.fixture
def queue(worker: tuple[Queue, Worker]) -> Iterator[Queue]:
    """The queue of the one worker of this module, which must outlive every test."""
    yield worker[0]
    assert worker[1].process.poll() is None, worker[1].log.read_text()


@pytest.fixture(scope="module")
def long(worker: tuple[Queue, Worker]) -> dict[str, Any]:
    """A job that takes this machine some seconds, fast or slow, so that there are updates and time
    to stop it."""
    known, seconds = SMALL | {"duration": 10.0}, 5.0
    began = time.monotonic()
    worker[0].run("how-fast", **known)
    took = time.monotonic() - began
    return known | {"duration": round(min(250.0, max(40.0, 10.0 * seconds / took)), 1)}


def _samples(audio: str) -> int:
    return int(soundfile.info(io.BytesIO(base64.b64decode(audio))).frames)


def test_a_job_is_answered_with_its_clip(queue: Queue) -> None:
    body = queue.run("ok-1")
    assert list(body) == ["output"]
    [clip] = body["output"]["clips"]
    assert _samples(clip["audio"]) == 6400
    assert (body["output"]["job_id"], body["output"]["seed"]) == ("ok-1", 7)


def test_a_worker_makes_music_before_it_takes_a_job(worker: tuple[Queue, Worker]) -> None:
    assert "Fitness check passed: warm_up" in worker[1].log.read_text()


def test_the_same_seed_makes_the_same_bytes(queue: Queue) -> None:
    first, second = (queue.run(f"same-{n}")["output"]["clips"][0] for n in (1, 2))
    assert first["audio"] == second["audio"]


@pytest.mark.parametrize(
    ("name", "given", "error"),
    [
        (
            "field",
            {"input": {"prompt": "x", "durration": 3}},
            "unknown_field: durration is not a field",
        ),
        (
            "range",
            {"input": {"prompt": "x", "duration": 999}},
            "invalid_duration: duration must be a number from",
        ),
        ("text", {"input": "calm piano"}, "invalid_request: input must be an object"),
        ("path", {"input": {"prompt": "x", "input_audio": "/etc/hostname"}}, "invalid_input_audio"),
        ("model", {"input": {"prompt": "x", "model_version": "/etc"}}, "unknown_model"),
        ("missing", {"input": {"prompt": "x", "model_version": "small"}}, "checkpoint_not_found"),
        (
            "surrogate",
            {"input": {"prompt": "x", "\ud800": 1}},
            "unknown_field: \\ud800 is not a field",
        ),
        ("bucket", {**job(""), "s3Config": {"accessId": "a"}}, "invalid_request: s3Config.bucket"),
    ],
)
def test_a_job_that_cannot_be_done_fails_with_one_line(
    queue: Queue, name: str, given: dict[str, Any], error: str
) -> None:
    queue.submit({**given, "id": f"bad-{name}"})
    body = queue.result(f"bad-{name}")
    assert list(body) == ["error"]
    assert body["error"].startswith(error)
    assert "Traceback" not in body["error"]


def test_updates_grow_and_none_comes_after_the_result(queue: Queue, long: dict[str, Any]) -> None:
    """The SDK's own updates go out in threads: a slow one would arrive after the result, and the
    job would be in progress for ever."""
    queue.update_seconds = 1.5
    try:
        queue.run("slow-updates", **long)
        until(lambda: not queue.on_their_way, "an update never arrives")
    finally:
        queue.update_seconds = 0.0
    kinds = [post.kind for post in queue.posts if post.job_id == "slow-updates"]
    assert kinds[-1] == "result" and kinds.count("result") == 1
    percents = [
        int(body["output"].partition("%")[0]) for body in queue.of("slow-updates", "update")
    ]
    assert percents and percents == sorted(set(percents)) and percents[-1] < 100


def test_a_short_job_posts_no_update(queue: Queue) -> None:
    queue.run("short")
    assert queue.of("short", "update") == []


def test_a_cancelled_job_stops_and_its_slot_is_free(queue: Queue, long: dict[str, Any]) -> None:
    queue.submit(job("cancelled", **long, variations=3))
    until(lambda: queue.of("cancelled", "update"), "it does not run")
    asked = len(queue.asked)
    queue.to_stop.append("cancelled")

    def all_free() -> bool:
        later = queue.asked[asked:]
        return any(a["batch_size"] == str(SLOTS) and a["job_in_progress"] == "0" for a in later)

    until(all_free, "the worker does not ask for as many jobs as it has slots")
    assert "output" in queue.run("after-the-cancelled")
    assert queue.of("cancelled", "result") == []


def test_as_many_jobs_as_slots_run_at_once(queue: Queue, long: dict[str, Any]) -> None:
    """Each of them tells of its progress before any of them is done."""
    names = [f"together-{n}" for n in range(SLOTS)]
    queue.submit(*(job(name, **long) for name in names))
    results = [queue.result(name) for name in names]
    seen = [(post.kind, post.job_id) for post in queue.posts if post.job_id in names]
    first_result = next(n for n, (kind, _) in enumerate(seen) if kind == "result")
    assert {name for _, name in seen[:first_result]} == set(names)
    clips = [result["output"]["clips"][0] for result in results]
    assert len({clip["sha256"] for clip in clips}) == 1


def test_a_result_that_was_refused_twice_is_sent_again(queue: Queue) -> None:
    queue.refusals = queue.refused + 2
    assert "output" in queue.run("refused-twice")
    assert queue.refused == queue.refusals


def test_no_secret_of_a_job_is_in_the_log(worker: tuple[Queue, Worker]) -> None:
    queue, known = worker
    secret = {"accessId": "AKIDVISIBLE", "accessSecret": "hush-hush", "bucketName": "BAD NAME"}
    queue.submit({**job("secret"), "s3Config": secret})
    error = queue.result("secret")["error"]
    for hidden in ("AKIDVISIBLE", "hush-hush"):
        assert hidden not in error
        assert hidden not in known.log.read_text()


def test_a_bucket_of_the_job_gets_the_clip(worker: tuple[Queue, Worker]) -> None:
    queue, known = worker
    with object_store("music-out") as url:
        s3_config = {
            "accessId": "AKIDOFTHEJOB",
            "accessSecret": "hush-of-the-job",
            "bucketName": "music-out",
            "endpointUrl": url,
        }
        queue.submit({**job("to-bucket"), "s3Config": s3_config})
        [clip] = queue.result("to-bucket")["output"]["clips"]
        assert "audio" not in clip
        assert clip["url"].startswith(f"{url}/music-out/")
        stored = httpx.get(clip["url"])
        assert stored.headers["content-type"] == "audio/wav"
        assert hashlib.sha256(stored.content).hexdigest() == clip["sha256"]
        queue.submit({**job("no-bucket"), "s3Config": s3_config | {"bucketName": "not-there"}})
        assert queue.result("no-bucket")["error"].startswith("bucket_refused: ")
    assert "hush-of-the-job" not in known.log.read_text()


@contextmanager
def object_store(bucket: str) -> Iterator[str]:
    """A server that speaks S3, with `bucket` in it. Yields its address."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys).create_bucket(
            Bucket=bucket
        )
        yield url
    finally:
        server.stop()


def test_streamed_pieces_join_to_a_clip_and_failures_are_failures(
    tmp_path: Path, long: dict[str, Any]
) -> None:
    with runpod_queue() as queue, runpod_worker(queue, tmp_path, MUSICGEN_STREAM="1"):
        output = queue.run("streamed", duration=2.0, variations=2)["output"]
        streamed = [body["output"] for body in queue.of("streamed", "stream")]
        assert output == streamed
        *pieces, last = output
        assert len(pieces) > 2 and list(last) == ["result"]
        for index, clip in enumerate(last["result"]["clips"]):
            assert "audio" not in clip and "url" not in clip
            parts = [base64.b64decode(p["audio"]) for p in pieces if p["index"] == index]
            sound, rate = soundfile.read(io.BytesIO(_with_length(b"".join(parts))))
            assert (
                (len(sound), rate) == (clip["samples"], clip["sampling_rate"]) == (64_000, 32_000)
            )
        assert {piece["content_type"] for piece in pieces} == {"audio/wav"}

        assert queue.run("bad", output_format="flac")["error"].startswith("unknown_format: ")
        queue.submit({"id": "worse", "input": None})
        assert queue.result("worse")["error"].startswith("invalid_request: input must be an object")

        queue.submit(job("given-up", **long, variations=3))
        until(lambda: queue.of("given-up", "stream"), "it does not run")
        queue.to_stop.append("given-up")
        assert "output" in queue.run("next")
        assert queue.of("given-up", "result") == []


def _with_length(wav: bytes) -> bytes:
    """A wav whose header says that its length is unknown, with the length it has."""
    start = wav.index(b"data") + 8
    return wav[: start - 4] + struct.pack("<I", len(wav) - start) + wav[start:]


def test_a_stopped_worker_finishes_its_job(tmp_path: Path, long: dict[str, Any]) -> None:
    with runpod_queue() as queue, runpod_worker(queue, tmp_path) as known:
        queue.submit(job("running", **long))
        until(lambda: queue.of("running", "update"), "it does not run")
        known.process.send_signal(signal.SIGTERM)
        queue.submit(job("too-late"))
        assert known.ended() == 0, known.log.read_text()
        assert "output" in queue.result("running")
        assert [each["id"] for each in queue.waiting] == ["too-late"]


def test_a_worker_that_cannot_start_says_why_in_one_line(tmp_path: Path) -> None:
    with local_process(tmp_path, [], MUSICGEN_MODEL="./nowhere") as known:
        assert known.ended() == 1
        log = known.log.read_text()
        assert log.count("\n") == 1 and log.startswith("unknown_model: model ")


def test_a_job_on_the_command_line_ends_with_its_status(tmp_path: Path) -> None:
    """Also where the settings ask for streams: the SDK would not run the generator at all."""
    right, wrong = (
        ["--test_input", json.dumps({"input": {"prompt": "x", "duration": duration}})]
        for duration in (0.2, 999)
    )
    with (
        local_process(tmp_path / "right", right, MUSICGEN_STREAM="1") as done,
        local_process(tmp_path / "wrong", wrong, MUSICGEN_STREAM="1") as failed,
    ):
        assert done.ended() == 0
        assert "'clips': [{'audio': " in done.log.read_text()
        assert failed.ended() == 1
        assert "invalid_duration: duration must be a number" in failed.log.read_text()


def test_the_development_api_answers(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = ["--rp_serve_api", "--rp_api_host", "127.0.0.1", "--rp_api_port", str(port)]
    with (
        local_process(tmp_path, address) as known,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE) as client,
    ):
        _wait_for(client, known)
        done = client.post("/runsync", json={"input": {"prompt": "x", "duration": 0.2}}).json()
        assert done["status"] == "COMPLETED"
        assert _samples(done["output"]["clips"][0]["audio"]) == 6400
        failed = client.post("/runsync", json={"input": {"prompt": ""}}).json()
        assert failed["status"] == "FAILED"
        assert failed["error"].startswith("empty_prompt: ")
        queued = client.post("/run", json={"input": {"prompt": "x", "duration": 0.2}}).json()
        status = client.post(f"/status/{queued['id']}").json()
        assert status["status"] == "COMPLETED"


def _wait_for(client: httpx.Client, known: Worker) -> None:
    end = time.monotonic() + DEADLINE
    while True:
        try:
            client.get("/")
            return
        except httpx.TransportError:
            assert time.monotonic() < end and known.process.poll() is None, known.log.read_text()
            time.sleep(0.05)
