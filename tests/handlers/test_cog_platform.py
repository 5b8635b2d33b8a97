"""What Replicate and other platforms expect of Cog's server: its life, its webhooks, its files."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.clips import wav
from tests.support.cog_server import Server, cog_server
from tests.support.web_neighbour import Neighbour, web_neighbour

pytest.importorskip("cog")

ASYNC = {"Prefer": "respond-async"}


@pytest.fixture
def neighbour() -> Iterator[Neighbour]:
    with web_neighbour(wav(0.4)) as known:
        yield known


def _input(**fields: Any) -> dict[str, Any]:
    return {"input": {"prompt": "x", "duration": 0.5, "seed": 1} | fields}


def test_webhooks_tell_the_beginning_and_the_result(
    plain_cog: Server, neighbour: Neighbour
) -> None:
    plain_cog.wait_for("READY", 10)
    body = _input() | {"webhook": f"{neighbour.url}/webhook"}
    assert plain_cog.client.post("/predictions", json=body, headers=ASYNC).status_code == 202
    neighbour.wait_for_status("starting", "processing")
    result = neighbour.wait_for_status("succeeded")
    assert result["metrics"]["seed"] == 1
    assert result["output"] == plain_cog.succeed(prompt="x", seed=1)["output"]


def test_one_slot_is_busy_until_it_is_cancelled_and_then_serves_again(
    plain_cog: Server, neighbour: Neighbour
) -> None:
    plain_cog.wait_for("READY", 10)
    body = _input(duration=300, output_format="mp3") | {"webhook": f"{neighbour.url}/webhook"}
    for turn in range(2):
        again = plain_cog.client.put("/predictions/long", json=body, headers=ASYNC)
        assert again.status_code == 202, f"turn {turn}: the same id is the same prediction"
    other = plain_cog.client.put("/predictions/long", json=body | {"id": "other"}, headers=ASYNC)
    assert other.status_code == 422
    assert plain_cog.post("/predictions", **_input()).status_code == 409
    neighbour.wait_for_logs("long")
    assert plain_cog.post("/predictions/unknown/cancel").status_code == 404
    assert plain_cog.post("/predictions/long/cancel").status_code == 200
    neighbour.wait_for_status("canceled")
    plain_cog.succeed()


def test_a_caller_who_hangs_up_frees_the_slot(plain_cog: Server) -> None:
    plain_cog.wait_for("READY", 10)
    with suppress(httpx.ReadTimeout):
        plain_cog.client.post(
            "/predictions", json=_input(duration=300, output_format="mp3"), timeout=0.3
        )
    assert plain_cog.succeed()["metrics"]["audio_seconds"] == 0.5


def test_what_is_no_request_is_told_by_its_status(plain_cog: Server) -> None:
    json = {"Content-Type": "application/json"}
    assert plain_cog.client.post("/predictions", content=b"{", headers=json).status_code == 400
    assert plain_cog.client.get("/predictions/x").status_code == 405
    for body in (b"5", b"null", b"[]", b'"piano"', b'{"input": 5}', b'{"input": [1]}', b"true"):
        answer = plain_cog.ask(body)
        is_failed = answer.status_code == 200 and "empty_prompt" in answer.json()["error"]
        assert is_failed or 400 <= answer.status_code < 500, (body, answer.text)
    assert plain_cog.succeed(no_such_field=1)["status"] == "succeeded"


def test_outputs_are_uploaded_and_a_prediction_is_finished_before_the_server_stops(
    tmp_path: Path, neighbour: Neighbour
) -> None:
    """Guards fixed names, which would be one address for everybody's clip."""
    place = ("--upload-url", f"{neighbour.url}/up/")
    with cog_server(tmp_path, arguments=place) as server:
        outputs = [server.succeed(seed=seed)["output"] for seed in (1, 1)]
        first, second = neighbour.uploads
        assert outputs == [neighbour.url + first.path, neighbour.url + second.path]
        assert outputs[0] != outputs[1]
        assert first.body == second.body
        assert first.body.startswith(b"RIFF")
        assert first.headers["content-type"] == "audio/wav"
        neighbour.refuses = True
        assert "upload" in server.fail().lower()
        neighbour.refuses = False
        with ThreadPoolExecutor(1) as caller:
            asked = caller.submit(server.post, **_input(duration=8))
            server.wait_for("BUSY", 20)
            server.process.send_signal(signal.SIGTERM)
            assert asked.result(60).json()["status"] == "succeeded"
        assert server.process.wait(20) == 0
    assert len(neighbour.uploads) == 3


def test_a_clip_goes_to_the_bucket_and_its_address_is_the_output(tmp_path: Path) -> None:
    boto3 = pytest.importorskip("boto3")
    moto = pytest.importorskip("moto.server")
    bucket = moto.ThreadedMotoServer("127.0.0.1", 0)
    bucket.start()
    try:
        host, port = bucket.get_host_and_port()
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
        url = f"http://{host}:{port}"
        store = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys)
        store.create_bucket(Bucket="music-out")
        with cog_server(
            tmp_path,
            MUSICGEN_BUCKET="music-out",
            MUSICGEN_BUCKET_ENDPOINT_URL=url,
            MUSICGEN_BUCKET_REGION="us-east-1",
            MUSICGEN_BUCKET_ADDRESSING="path",
            MUSICGEN_BUCKET_ACCESS_KEY_ID="key",
            MUSICGEN_BUCKET_SECRET_ACCESS_KEY="secret",
            MUSICGEN_SPOOL_DIR=str(tmp_path / "spool"),
        ) as server:
            address = server.succeed(seed=1)["output"]
            assert not server.output_files()
        assert address.startswith(f"{url}/music-out/")
        assert httpx.get(address).content.startswith(b"RIFF")
    finally:
        bucket.stop()


def test_weights_that_cannot_be_had_are_told_in_the_logs_of_setup(tmp_path: Path) -> None:
    broken = tmp_path / "broken.tar"
    broken.write_bytes(b"no archive")
    with cog_server(tmp_path / "cog", until="SETUP_FAILED", COG_WEIGHTS=str(broken)) as server:
        setup = server.client.get("/health-check").json()["setup"]
        assert setup["status"] == "failed"
        assert "broken.tar is neither a tar nor a zip file" in setup["logs"]
        assert server.post("/predictions", **_input()).status_code == 503


def test_a_worker_that_cannot_serve_any_more_is_unhealthy(tmp_path: Path) -> None:
    """The platform then starts another one. First a lost device, then a worker that dies."""
    with cog_server(tmp_path, "tests/support/faulty_runner.py:Runner") as server:
        assert "empty_prompt: " in server.fail(prompt="")
        # An error of the caller is no fault.
        server.wait_for("READY", 10)
        assert "device_fault: the device is lost" in server.fail(prompt="fault")
        assert server.health() == "UNHEALTHY"
        assert "crashed" in server.predict(prompt="crash")["error"]
        assert server.health() == "UNHEALTHY"
        assert server.post("/predictions", **_input()).status_code == 409
        assert server.process.poll() is None
