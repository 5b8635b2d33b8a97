"""`musicgen serve model` as each platform starts it and calls it, over loopback.

Contracts, as read on 2026-11-29:
SageMaker: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html and
.../your-algorithms-batch-code.html; the client is boto3's own.
Vertex AI: https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements.
Cloud Run: https://cloud.google.com/run/docs/container-contract.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import soundfile

from musicgen.checkpoints import locate
from tests.support.google_storage import GoogleStorage, serve_storage
from tests.support.job_server import free_port
from tests.support.model_server import ModelServerProcess, start_model_server
from tests.support.sagemaker import open_sagemaker

DEMO = Path(locate.__file__).parents[1] / "demo" / "checkpoint"
FIELDS = {"prompt": "fast high bells", "duration": 1, "seed": 7}
LONG = {"prompt": "fast high bells", "duration": 300, "output_format": "mp3"}
VERTEX_ROUTE = "/v1/endpoints/12/deployedModels/34:predict"


def audio_of(reply: dict[str, Any]) -> bytes:
    return base64.b64decode(reply["clips"][0]["audio"])


class SageMakerFront(BaseHTTPRequestHandler):
    """InvokeEndpoint in front of a container, which gets the body and the listed headers.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
    """

    container: httpx.Client
    passed = ("content-type", "accept", "x-amzn-sagemaker-custom-attributes")

    def do_POST(self) -> None:
        assert self.path == "/endpoints/music/invocations"
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {n: v for n, v in self.headers.items() if n.lower() in self.passed}
        answer = self.container.post("/invocations", content=body, headers=headers)
        content = answer.content
        if answer.status_code >= 400:
            original = {"OriginalStatusCode": answer.status_code, "OriginalMessage": answer.text}
            content = json.dumps({"Message": "Received error from primary", **original}).encode()
        self.send_response(200 if answer.status_code < 400 else 424)
        if answer.status_code >= 400:
            self.send_header("x-amzn-ErrorType", "ModelError")
        for name in ("content-type", "x-amzn-sagemaker-custom-attributes"):
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def test_sagemaker_starts_it_and_boto3_calls_it(tmp_path: Path) -> None:
    with start_model_server(tmp_path, MUSICGEN_PLATFORM="sagemaker", PORT=free_port()) as server:
        statuses = server.wait_until_ready()
        assert set(statuses) <= {0, 503, 200} and 503 in statuses, statuses
        assert "clips go into the answers" in server.log
        with open_sagemaker(SageMakerFront, server.http) as client:
            call = {"EndpointName": "music", "ContentType": "application/json"}
            body = json.dumps(FIELDS)
            made = client.invoke_endpoint(Body=body, **call)
            reply = json.loads(made["Body"].read())
            raw = client.invoke_endpoint(Body=body, Accept="audio/wav", **call)
            sound = raw["Body"].read()
            assert sound == audio_of(reply), "the same seed makes the same bytes"
            assert hashlib.sha256(sound).hexdigest() == reply["clips"][0]["sha256"]
            assert soundfile.info(io.BytesIO(sound)).duration == pytest.approx(1, abs=0.05)
            assert "seed=7;" in raw["CustomAttributes"]
            with pytest.raises(client.exceptions.ModelError) as caught:
                client.invoke_endpoint(Body='{"prompt": ""}', **call)
            told = caught.value.response
            assert told["OriginalStatusCode"] == 422
            assert json.loads(told["OriginalMessage"])["error"]["code"] == "empty_prompt"
            # 80 s of wav are over the limit of an answer, which is known before the first step.
            with pytest.raises(client.exceptions.ModelError) as caught:
                client.invoke_endpoint(Body=json.dumps(FIELDS | {"duration": 80}), **call)
            assert caught.value.response["OriginalStatusCode"] == 413


@pytest.mark.slow
def test_batch_transform_learns_limits_and_gets_lines(tmp_path: Path) -> None:
    with start_model_server(tmp_path, SAGEMAKER_BATCH="true") as server:
        server.wait_until_ready()
        limits = server.http.get("/execution-parameters").json()
        assert limits == {
            "MaxConcurrentTransforms": 2,
            "BatchStrategy": "SINGLE_RECORD",
            "MaxPayloadInMB": 20,
        }
        lines = "\n".join(json.dumps(FIELDS | {"seed": seed}) for seed in (1, 2)) + '\n{"seed": 3}'
        kind = {"Content-Type": "application/jsonlines"}
        answer = server.http.post("/invocations", content=lines, headers=kind)
        found = [json.loads(line) for line in answer.text.splitlines()]
        assert [each.get("seed") for each in found] == [1, 2, None]
        assert found[2]["error"]["code"] == "empty_prompt"


def test_vertex_names_port_and_routes(tmp_path: Path) -> None:
    env = {
        "AIP_HTTP_PORT": free_port(),
        "AIP_HEALTH_ROUTE": "/v1/health",
        "AIP_PREDICT_ROUTE": VERTEX_ROUTE,
    }
    with start_model_server(tmp_path, **env) as server:
        server.wait_until_ready("/v1/health")
        body = {"instances": [FIELDS, FIELDS | {"seed": 8}], "parameters": {"output_format": "mp3"}}
        answer = server.http.post(VERTEX_ROUTE, json=body)
        predictions = answer.json()["predictions"]
        assert [each["seed"] for each in predictions] == [7, 8]
        assert len(answer.content) < 1_500_000
        too_long = server.http.post(VERTEX_ROUTE, json={"instances": [FIELDS | {"duration": 30}]})
        assert too_long.status_code == 413
        assert too_long.json()["error"]["code"] == "inline_too_large"
        # rawPredict hands on any body.
        raw = server.http.post(VERTEX_ROUTE, json=FIELDS, headers={"Accept": "audio/wav"})
        assert raw.headers["content-type"] == "audio/wav"


def test_vertex_hands_over_the_model_as_a_folder_in_a_bucket(tmp_path: Path) -> None:
    files = {f"models/7/{path.name}": path.read_bytes() for path in DEMO.iterdir()}
    with serve_storage(GoogleStorage(files)) as storage:
        env = {
            "AIP_STORAGE_URI": "gs://music/models/7",
            "STORAGE_EMULATOR_HOST": storage.address,
            "MUSICGEN_WEIGHTS_DIR": tmp_path / "weights",
            "MUSICGEN_MODEL": "small",
        }
        with start_model_server(tmp_path, **env) as server:
            server.wait_until_ready()
            reply = server.http.post("/invocations", json=FIELDS).json()
            assert reply["clips"][0]["audio"]
        env["AIP_STORAGE_URI"] = "gs://music/nothing"
        with start_model_server(tmp_path, **env) as server:
            assert server.process.wait(60) not in (0, 1)
            assert "gs://music/nothing has no files" in server.log.splitlines()[-1]


@pytest.mark.slow
def test_cloud_run_sends_calls_side_by_side_and_stops_it_within_ten_seconds(
    tmp_path: Path,
) -> None:
    """Guards against a call that is cut off without an answer when an instance is removed."""
    env = {"K_SERVICE": "music", "PORT": free_port(), "MUSICGEN_STOP_SECONDS": 3}
    with start_model_server(tmp_path, **env) as server, ThreadPoolExecutor(8) as pool:
        server.wait_until_ready()
        calls = [
            pool.submit(server.http.post, "/invocations", json=FIELDS | {"seed": seed})
            for seed in (7, 7, 8, 9)
        ]
        replies = [call.result().json() for call in calls]
        assert audio_of(replies[0]) == audio_of(replies[1]) != audio_of(replies[2])
        long = pool.submit(server.http.post, "/invocations", json=LONG)
        _wait_for_generation(server)
        assert server.http.get("/ping").status_code == 200
        server.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        answer = long.result()
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "server_stopping"
        assert server.process.wait(10) == 0
        assert time.monotonic() - began < 10


@pytest.mark.slow
def test_a_short_call_is_finished_after_sigterm(tmp_path: Path) -> None:
    with start_model_server(tmp_path, K_SERVICE="music") as server, ThreadPoolExecutor(1) as pool:
        server.wait_until_ready()
        call = pool.submit(server.http.post, "/invocations", json=FIELDS | {"duration": 20})
        _wait_for_generation(server)
        server.process.send_signal(signal.SIGTERM)
        assert call.result().status_code == 200
        assert server.process.wait(10) == 0


@pytest.mark.slow
def test_a_caller_who_hangs_up_frees_the_slot(tmp_path: Path) -> None:
    """SageMaker hangs up after 60 s; the decode must not go on for nobody."""
    with start_model_server(tmp_path) as server:
        server.wait_until_ready()
        with pytest.raises(httpx.ReadTimeout):
            server.http.post("/invocations", json=LONG, timeout=1)
        program = psutil.Process(server.process.pid)
        end = time.monotonic() + 20
        while program.cpu_percent(0.5) > 20:
            assert time.monotonic() < end, "it still computes"


def test_a_model_that_cannot_be_loaded_ends_it_with_one_line(tmp_path: Path) -> None:
    with start_model_server(tmp_path, MUSICGEN_MODEL=str(tmp_path / "nowhere")) as server:
        assert server.process.wait(60) == 78
        last = server.log.splitlines()[-1]
        assert last.startswith("musicgen: model is not an existing folder"), last
        assert "Traceback" not in server.log


def test_sigterm_during_the_load_ends_it_at_once(tmp_path: Path) -> None:
    with start_model_server(tmp_path) as server:
        while "model server address" not in server.log:
            assert server.process.poll() is None, server.log
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert "Traceback" not in server.log


@pytest.mark.slow
def test_prompts_and_keys_are_not_logged(tmp_path: Path) -> None:
    env = {"MUSICGEN_LOG_LEVEL": "DEBUG", "HF_TOKEN": "hf_secret"}
    with start_model_server(tmp_path, **env) as server:
        server.wait_until_ready()
        server.http.post("/invocations", json=FIELDS | {"prompt": "a song for Amalia"})
        assert "call answered status=200" in server.log
        assert "Amalia" not in server.log and "hf_secret" not in server.log


def _wait_for_generation(server: ModelServerProcess) -> None:
    """Wait until the server computes."""
    program = psutil.Process(server.process.pid)
    before = sum(program.cpu_times()[:2])
    end = time.monotonic() + 20
    while sum(program.cpu_times()[:2]) < before + 0.2:
        assert time.monotonic() < end
        time.sleep(0.02)
