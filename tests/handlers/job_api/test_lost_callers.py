"""Calls that wait and do not get their sound: callers who leave, deadlines, limits, keys."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from tests.support.job_server import JobServer, create_key, data_folder, job_server

LONG = {"input": "calm piano", "audio_length": 300}
SHORT = {"input": "calm piano", "audio_length": 0.5}
PATH = "/v1/audio/generate"


@pytest.fixture(scope="module")
def single() -> Iterator[JobServer]:
    """A server with one slot: a job that goes on keeps all others waiting for minutes."""
    settings = {"MUSICGEN_SLOTS": 1, "MUSICGEN_RATE_LIMIT": "100000/minute"}
    with data_folder() as folder, job_server(folder, **settings) as running:
        yield running


@pytest.fixture(scope="module")
def strict() -> Iterator[JobServer]:
    """A server with keys and small limits, without a worker: nothing is ever made."""
    settings = {
        "MUSICGEN_API_AUTH": "on",
        "MUSICGEN_RATE_LIMIT": "6/minute",
        "MUSICGEN_JOBS_PER_KEY": 1,
        "MUSICGEN_QUEUE_MAX": 3,
        "MUSICGEN_WAIT_SECONDS": 1,
        "MUSICGEN_STREAMS_PER_KEY": 1,
    }
    with data_folder() as folder, job_server(folder, "api", **settings) as running:
        yield running


def _openai(server: JobServer, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, timeout=60)


def _create(server: JobServer, key: str) -> None:
    _openai(server, key).audio.speech.create(input="piano", model="demo", voice="alloy")


def _call_with_curl(
    server: JobServer, body: dict[str, Any], *options: str
) -> subprocess.Popen[bytes]:
    command = ["curl", "-sS", "-N", "-o", "/dev/null", "--json", json.dumps(body)]
    return subprocess.Popen([*command, *options, server.url + PATH], stderr=subprocess.DEVNULL)


def _find_running(server: JobServer) -> dict[str, Any]:
    """The newest job, once it makes music."""
    end = time.monotonic() + 60
    while True:
        jobs = server.http.get("/v1/jobs", params={"limit": 1}).json()["jobs"]
        if jobs and jobs[0]["status"] == "running" and jobs[0]["progress"] > 0:
            found: dict[str, Any] = jobs[0]
            return found
        assert time.monotonic() < end, jobs
        time.sleep(0.05)


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_who_leaves_frees_the_slot(single: JobServer, stream: bool) -> None:
    caller = _call_with_curl(single, {**LONG, "stream": stream})
    job = _find_running(single)
    caller.kill()
    caller.wait()
    left = single.ended(job["job_id"], seconds=30)
    assert left["status"] == "cancelled" and left["progress"] < 0.5
    # Behind a clip of five minutes this would wait for as long.
    assert single.ended(single.submit(), seconds=60)["status"] == "completed"
    assert "Traceback" not in single.log


def test_a_caller_who_leaves_the_queue_takes_the_job_along(single: JobServer) -> None:
    first = single.submit(duration=300)
    single.until(first, lambda now: now["status"] == "running")
    caller = _call_with_curl(single, SHORT)
    queued = single.until(_newest_other_than(single, first), lambda now: now["status"] == "queued")
    caller.kill()
    caller.wait()
    assert single.ended(queued["job_id"])["status"] == "cancelled"
    single.http.delete(f"/v1/jobs/{first}")


def _newest_other_than(server: JobServer, job_id: str) -> str:
    end = time.monotonic() + 60
    while True:
        newest = server.http.get("/v1/jobs", params={"limit": 1}).json()["jobs"][0]["job_id"]
        if newest != job_id:
            return str(newest)
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_job_with_a_key_goes_on_for_the_same_call(single: JobServer) -> None:
    headers = {"Idempotency-Key": "one song"}
    body = {**SHORT, "audio_length": 20}
    caller = _call_with_curl(single, body, "-H", "Idempotency-Key: one song")
    job = _find_running(single)
    caller.kill()
    caller.wait()
    answer = single.http.post(PATH, json=body, headers=headers, timeout=90)
    assert answer.status_code == 200
    assert answer.headers["x-job-id"] == job["job_id"]
    other = single.http.post(PATH, json=SHORT, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_used")


def test_a_job_that_somebody_cancels_ends_its_call(single: JobServer) -> None:
    with ThreadPoolExecutor(1) as thread:
        call = thread.submit(httpx.post, single.url + PATH, json=LONG, timeout=90)
        job = _find_running(single)
        single.http.delete(f"/v1/jobs/{job['job_id']}")
        answer = call.result(60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "cancelled")
    assert answer.headers["x-job-id"] == job["job_id"]


def test_a_server_that_stops_answers_its_waiting_calls(data: Any) -> None:
    with ThreadPoolExecutor(1) as thread:
        with job_server(data, "api") as server:
            call = thread.submit(httpx.post, server.url + PATH, json=LONG, timeout=60)
            end = time.monotonic() + 30
            while not server.http.get("/v1/jobs").json()["jobs"]:
                assert time.monotonic() < end
                time.sleep(0.05)
        answer = call.result(30)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "stopping")
    assert answer.headers["retry-after"]


def test_a_deadline_names_the_job(strict: JobServer) -> None:
    key = create_key(strict, "patient")
    with pytest.raises(openai.InternalServerError) as caught:
        _create(strict, key)
    error, headers = caught.value, caught.value.response.headers
    assert (error.status_code, error.code, error.type) == (504, "wait_timeout", "server_error")
    # Sent again by itself, the call would be another job.
    assert headers["x-should-retry"] == "false"
    assert headers["location"] == f"/v1/status/{headers['x-job-id']}"
    with httpx.Client(base_url=strict.url, headers={"Authorization": f"Bearer {key}"}) as http:
        assert http.get(headers["location"]).json()["status"] == "queued"
        with pytest.raises(openai.RateLimitError) as full:
            _create(strict, key)
        assert full.value.code == "too_many_jobs" and full.value.response.headers["retry-after"]
        assert http.delete(f"/v1/jobs/{headers['x-job-id']}").json()["status"] == "cancelled"


def test_openai_is_told_of_keys_and_limits(strict: JobServer) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        _openai(strict, "mg_wrong").models.list()
    assert caught.value.type == "authentication_error"
    client = _openai(strict, create_key(strict, "hasty"))
    with pytest.raises(openai.RateLimitError) as hasty:
        for _ in range(10):
            client.models.list()
    assert hasty.value.code == "too_many_calls" and hasty.value.type == "rate_limit_error"
    assert int(hasty.value.response.headers["retry-after"]) > 0


def test_waiting_calls_count_as_streams(strict: JobServer) -> None:
    headers = {"Authorization": f"Bearer {create_key(strict, 'many')}"}
    with httpx.Client(base_url=strict.url, headers=headers) as http:
        job_id = http.post("/v1/generate", json={"prompt": "piano"}).json()["job_id"]
        with http.stream("GET", f"/v1/jobs/{job_id}/events"):
            answer = http.post(PATH, json=SHORT)
        http.delete(f"/v1/jobs/{job_id}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "too_many_streams")


def test_a_full_queue_says_when_to_come_again(strict: JobServer) -> None:
    keys = [create_key(strict, f"crowd {number}") for number in range(4)]
    codes = []
    for key in keys:
        with pytest.raises(openai.InternalServerError) as caught:
            _create(strict, key)
        codes.append(caught.value.code)
    assert codes == ["wait_timeout"] * 3 + ["queue_full"]
    assert (caught.value.status_code, caught.value.response.headers["retry-after"]) == (503, "10")
