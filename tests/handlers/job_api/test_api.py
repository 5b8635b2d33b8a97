"""The whole service over HTTP: what is promised to callers, on real processes."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile as sf

from musicgen.predictor import Predictor
from musicgen.request import GenerationRequest
from musicgen.request.limits import OUTPUT_FORMATS
from musicgen.settings import Settings
from tests.support.clips import wav
from tests.support.job_server import JobServer


def test_the_three_calls(server: JobServer) -> None:
    """The contract, to the letter."""
    body = {"prompt": "upbeat electronic music", "duration": 5}
    answer = server.http.post("/generate", json=body)
    assert answer.status_code == 202
    job_id = answer.json()["job_id"]
    assert answer.json() == {"job_id": job_id, "status": "queued"}
    assert answer.headers["location"] == f"/status/{job_id}"
    status = server.ended(job_id)
    assert (status["job_id"], status["status"]) == (job_id, "completed")
    assert status["audio_url"] == f"/audio/{job_id}.wav"
    sound = server.http.get(status["audio_url"])
    assert sound.headers["content-type"] == "audio/wav"
    pcm, rate = sf.read(io.BytesIO(sound.content))
    assert (len(pcm), rate) == (5 * 32_000, 32_000)
    assert hashlib.sha256(sound.content).hexdigest() == status["result"]["clips"][0]["sha256"]


def test_the_clip_is_what_the_predictor_makes(server: JobServer, tmp_path: Path) -> None:
    predictor = Predictor.load(Settings(data_dir=tmp_path, threads=1, slots=2))
    own = predictor.generate(GenerationRequest(prompt="calm piano", duration=1, seed=11))
    job = server.submit(prompt="calm piano", duration=1, seed=11)
    heard, _ = sf.read(io.BytesIO(server.http.get(server.ended(job)["audio_url"]).content))
    # Decoded in pieces, for those who listen meanwhile: equal but for the last digits.
    assert np.abs(heard - sf.read(own.clips[0].address)[0]).max() < 1e-3


def test_variations_are_several_urls(server: JobServer) -> None:
    status = server.ended(server.submit(variations=3, seed=5))
    job_id = status["job_id"]
    names = [f"/audio/{job_id}{suffix}.wav" for suffix in ("", "-2", "-3")]
    assert status["audio_urls"] == names == [clip["url"] for clip in status["result"]["clips"]]
    assert [clip["seed"] for clip in status["result"]["clips"]] == [5, 6, 7]
    for clip in status["result"]["clips"]:
        data = server.http.get(clip["url"]).content
        assert hashlib.sha256(data).hexdigest() == clip["sha256"]
    assert server.http.get(f"/audio/{job_id}-4.wav").status_code == 404


@pytest.mark.parametrize("extension", OUTPUT_FORMATS)
def test_every_format_can_be_had_of_a_clip(server: JobServer, extension: str) -> None:
    job_id = server.submit(duration=1)
    server.ended(job_id)
    answer = server.http.get(f"/audio/{job_id}.{extension}")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("audio/")
    pcm, rate = sf.read(io.BytesIO(answer.content))
    assert len(pcm) / rate == pytest.approx(1, abs=0.1)


def test_ranges_are_parts_of_the_file(server: JobServer) -> None:
    url = server.ended(server.submit())["audio_url"]
    whole = server.http.get(url).content
    part = server.http.get(url, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(whole)}"
    assert server.http.get(url, headers={"Range": f"bytes={len(whole)}-"}).status_code == 416


def _events(server: JobServer, job_id: str) -> list[dict[str, Any]]:
    with server.http.stream("GET", f"/v1/jobs/{job_id}/events", timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_events_tell_the_way_to_the_end(server: JobServer) -> None:
    job_id = server.submit(duration=40)
    told = _events(server, job_id)
    assert told[-1] == server.status(job_id) and told[-1]["status"] == "completed"
    fractions = [each["progress"] for each in told]
    assert fractions == sorted(fractions) and len(fractions) > 2
    assert any(each["expected_seconds"] for each in told)
    assert _events(server, job_id) == [told[-1]]


def test_sound_is_heard_while_it_is_made(server: JobServer) -> None:
    job_id = server.submit(duration=60, seed=3, normalization_strategy="none")
    status = server.until(job_id, lambda now: now["stream_url"] or (now["status"] != "running"
                          and now["status"] != "queued"))  # fmt: skip
    assert status["stream_url"] == f"/v1/audio/{job_id}/stream"
    with server.http.stream("GET", status["stream_url"]) as answer:
        assert answer.headers["content-type"] == "audio/wav"
        pieces = answer.iter_bytes()
        first = next(pieces)
        assert first.startswith(b"RIFF")
        assert server.status(job_id)["status"] == "running", "it was heard before its end"
        heard = first + b"".join(pieces)
    pcm, _ = sf.read(io.BytesIO(heard))
    made, _ = sf.read(io.BytesIO(server.http.get(server.ended(job_id)["audio_url"]).content))
    assert len(pcm) == len(made) == 60 * 32_000
    assert np.abs(pcm - made).max() < 1e-3
    # Afterwards the same address has the clip.
    assert len(server.http.get(f"/v1/audio/{job_id}/stream").content) > 60 * 32_000


def test_a_running_job_is_cancelled(server: JobServer) -> None:
    job_id = server.submit(duration=300)
    server.until(job_id, lambda now: now["status"] == "running")
    assert server.http.delete(f"/v1/jobs/{job_id}").json()["status"] == "cancelled"
    # Its slot is free again, and what it had made is gone.
    assert server.ended(server.submit(duration=1))["status"] == "completed"
    end = time.monotonic() + 30
    while list(server.folder.glob(f"*/{job_id}*")):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert server.status(job_id)["status"] == "cancelled"
    assert server.http.get(f"/audio/{job_id}.wav").status_code == 404


def test_an_upload_is_continued(server: JobServer) -> None:
    upload = server.http.post("/v1/uploads", content=wav(2.0))
    assert upload.status_code == 201 and upload.json()["seconds"] == 2.0
    fields = {"input_audio": upload.json()["input_audio"], "continuation": True, "duration": 3}
    status = server.ended(server.submit(**fields))
    assert status["status"] == "completed" and status["result"]["seconds"] == 3
    by_body = {**fields, "input_audio": base64.b64encode(wav(2.0)).decode()}
    status = server.ended(server.submit(**by_body))
    assert status["status"] == "completed"
    assert status["request"]["input_audio"].startswith("upload:"), "no sound in the database"


def test_what_is_no_sound_is_no_upload(server: JobServer) -> None:
    for body in (b"", b"not a sound" * 100):
        answer = server.http.post("/v1/uploads", content=body)
        assert answer.status_code == 422 and answer.json()["error"]["message"]
    assert not list((server.folder / "uploads").glob(".*"))


def test_a_failed_job_says_why(server: JobServer) -> None:
    """What only the worker can find out."""
    status = server.ended(server.submit(input_audio="http://127.0.0.1:9/x.wav", continuation=True))
    assert status["status"] == "failed"
    assert status["error"]["code"] == "input_audio_refused"
    assert status["error"]["field"] == "input_audio"
    assert status["audio_url"] is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"prompt": "x", "duration": 0}, "duration"),
        ({"prompt": "x", "duratoin": 5}, "duratoin"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x", "priority": 11}, "priority"),
        ({"prompt": "x", "priority": True}, "priority"),
        ({"prompt": "x", "webhook_url": "ftp://a/b"}, "webhook_url"),
        ({"prompt": "x", "webhook_url": "http://127.0.0.1/x"}, "webhook_url"),
        ({"prompt": "x", "webhook_url": "http://169.254.169.254/latest"}, "webhook_url"),
        ({"prompt": "x", "model_version": "/etc"}, "model_version"),
        ({"prompt": "x", "input_audio": "upload:../../etc/passwd"}, "input_audio"),
        ({"prompt": "x", "input_audio": "/etc/passwd"}, "input_audio"),
        ([], "body"),
        ("x", "body"),
    ],
)
def test_what_is_wrong_is_named(server: JobServer, body: Any, field: str) -> None:
    answer = server.http.post("/generate", json=body)
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert error["field"] == field and error["message"] and error["code"]


def test_the_same_call_again_is_the_same_job(server: JobServer) -> None:
    headers = {"Idempotency-Key": "once"}
    body = {"prompt": "x", "duration": 0.5}
    ids = {
        server.http.post("/generate", json=body, headers=headers).json()["job_id"] for _ in range(3)
    }
    assert len(ids) == 1
    other = server.http.post("/generate", json={**body, "duration": 1}, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_used")


def test_jobs_are_listed_in_pages(server: JobServer) -> None:
    ids = [server.submit(duration=0.2) for _ in range(5)]
    for job_id in ids:
        server.ended(job_id)
    first = server.http.get("/v1/jobs", params={"limit": 3}).json()
    second = server.http.get("/v1/jobs", params={"limit": 2, "before": first["next"]}).json()
    assert [job["job_id"] for job in first["jobs"] + second["jobs"]] == ids[::-1]
    done = server.http.get("/v1/jobs", params={"status": "completed", "limit": 1}).json()["jobs"]
    assert done[0]["status"] == "completed"
    assert server.http.get("/v1/jobs", params={"before": "nonsense"}).status_code == 422


def test_models_are_told_with_their_licences(server: JobServer) -> None:
    models = server.http.get("/v1/models").json()
    assert models["default"] == "demo"
    assert models["object"] == "list"
    by_name = {each["id"]: each for each in models["data"]}
    assert by_name["demo"]["loaded"] and not by_name["large"]["loaded"]
    assert by_name["large"]["licence"] == "CC-BY-NC-4.0"
    assert by_name["large"]["owned_by"] == "meta"
    assert server.http.get("/v1/models/facebook/musicgen-large").json() == by_name["large"]
    assert server.http.get("/v1/models/nothing").status_code == 404
    answer = server.http.post("/v1/models/demo/load")
    assert (answer.status_code, answer.json()) == (202, {"model": "demo", "status": "loaded"})
    assert server.http.post("/v1/models/nothing/load").status_code == 404


def test_metrics_count_what_happens(server: JobServer) -> None:
    server.ended(server.submit())
    text = server.http.get("/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(lines['musicgen_jobs_kept{state="completed"}']) >= 1
    assert float(lines["musicgen_workers"]) == 1 and float(lines["musicgen_slots"]) == 2
    assert any(name.startswith("musicgen_http_request_seconds_count") for name in lines)


def test_health_is_not_readiness(server: JobServer) -> None:
    assert server.http.get("/healthz").json()["status"] == "ok"
    assert server.http.get("/readyz").json()["status"] == "ok"


def test_many_may_wait_for_the_same_news(server: JobServer) -> None:
    job_id = server.submit(duration=10)
    ends: list[str] = []

    def listen() -> None:
        with httpx.stream("GET", f"{server.url}/v1/jobs/{job_id}/events", timeout=60) as answer:
            lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
            ends.append(json.loads(lines[-1].removeprefix("data: "))["status"])

    threads = [threading.Thread(target=listen) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert ends == ["completed"] * 20


@pytest.mark.parametrize("prompt", ["a\0b", "half \ud800", "Müsik 🎵 \\u0000 as text"])
def test_any_text_is_kept_or_refused(server: JobServer, prompt: str) -> None:
    body = json.dumps({"prompt": prompt, "duration": 0.2})
    headers = {"Content-Type": "application/json"}
    answer = server.http.post("/generate", content=body, headers=headers)
    if "\\u0000 as" in prompt:
        assert server.ended(answer.json()["job_id"])["request"]["prompt"] == prompt
    else:
        assert answer.json()["error"]["field"] == "prompt"
