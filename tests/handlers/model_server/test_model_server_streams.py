"""Live sound of the model server as a process, read by boto3 and by callers who stop reading.

Contract, as read on 2026-11-29:
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpointWithResponseStream.html
"""

from __future__ import annotations

import io
import json
import signal
import struct
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest
import soundfile

from tests.support.callers import send_partial_body, wait_until_idle
from tests.support.model_server import ModelServerProcess, start_model_server
from tests.support.sagemaker import open_sagemaker
from tests.support.silent_server import SilentServer

FIELDS = {"prompt": "fast high bells", "duration": 10, "seed": 7, "stream": True}
LONG = FIELDS | {"duration": 300}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServerProcess]:
    with start_model_server(tmp_path_factory.mktemp("server")) as server:
        server.wait_until_ready()
        yield server


class StreamFront(BaseHTTPRequestHandler):
    """InvokeEndpointWithResponseStream in front of a container: chunks become event messages."""

    container: httpx.Client

    def do_POST(self) -> None:
        assert self.path == "/endpoints/music/invocations-response-stream"
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind = {"Content-Type": self.headers["Content-Type"]}
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.amazon.eventstream")
        self.send_header("Connection", "close")
        self.end_headers()
        with self.container.stream("POST", "/invocations", content=body, headers=kind) as answer:
            for piece in answer.iter_raw():
                self.wfile.write(_build_event(piece))

    def log_message(self, *_: object) -> None:
        pass


def _build_event(payload: bytes) -> bytes:
    """Return a message of the event stream encoding of AWS."""
    names = {":event-type": "PayloadPart", ":message-type": "event"}
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(text)) + text.encode()
        for name, text in names.items()
    )
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack(">I", zlib.crc32(message))


def test_boto3_reads_the_parts_of_one_file(server: ModelServerProcess) -> None:
    with open_sagemaker(StreamFront, server.http) as client:
        answer = client.invoke_endpoint_with_response_stream(
            EndpointName="music", Body=json.dumps(FIELDS), ContentType="application/json"
        )
        parts = [event["PayloadPart"]["Bytes"] for event in answer["Body"]]
    assert len(parts) > 5
    sound, rate = soundfile.read(io.BytesIO(b"".join(parts)))
    assert len(sound) / rate == FIELDS["duration"]
    again = server.http.post("/invocations", json=FIELDS)
    assert again.content == b"".join(parts), "the same seed makes the same bytes"


def test_a_format_without_a_live_form_is_refused(server: ModelServerProcess) -> None:
    answer = server.http.post("/invocations", json=FIELDS | {"output_format": "flac"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "unknown_format")


def test_a_reader_who_hangs_up_frees_the_slot(server: ModelServerProcess) -> None:
    with server.http.stream("POST", "/invocations", json=LONG) as answer:
        next(answer.iter_raw())
    wait_until_idle(server.process.pid)
    assert "Traceback" not in server.log


@pytest.mark.slow
def test_two_sigterms_cut_a_stream_and_end_the_server(tmp_path: Path) -> None:
    with start_model_server(tmp_path, MUSICGEN_STOP_SECONDS=3) as server:
        server.wait_until_ready()
        with (
            server.http.stream("POST", "/invocations", json=LONG) as answer,
            pytest.raises(httpx.RemoteProtocolError),
        ):
            for _ in answer.iter_raw():
                server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0
        assert "server_stopping" in server.log and "Traceback" not in server.log


@pytest.mark.slow
def test_a_reader_who_stops_reading_is_cut_at_the_limit_of_a_call(tmp_path: Path) -> None:
    """Guards against a slot that is held for hours by a connection without a reader."""
    with start_model_server(tmp_path, MUSICGEN_CALL_SECONDS=4) as server:
        server.wait_until_ready()
        with server.http.stream("POST", "/invocations", json=LONG) as answer:
            pieces = answer.iter_raw()
            next(pieces)
            wait_until_idle(server.process.pid)
            with pytest.raises(httpx.RemoteProtocolError):
                for _ in pieces:
                    pass


@pytest.mark.slow
def test_a_body_that_never_ends_is_refused(server: ModelServerProcess) -> None:
    status, reply = send_partial_body(server.http.base_url.port or 80, "/invocations")
    assert (status, reply["error"]["code"]) == (408, "body_too_slow")


@pytest.mark.slow
def test_a_bucket_out_of_reach_is_told_without_its_address(tmp_path: Path) -> None:
    bucket = {
        "MUSICGEN_BUCKET": "music",
        "MUSICGEN_BUCKET_DEADLINE": 5,
        "MUSICGEN_BUCKET_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }
    with start_model_server(tmp_path, **bucket) as server:
        server.wait_until_ready()
        call = FIELDS | {"stream": False, "duration": 1}
        answer = server.http.post("/invocations", json=call)
        assert answer.status_code in (502, 503), answer.text
        assert "127.0.0.1" not in answer.text and "bucket" in answer.json()["error"]["message"]


@pytest.mark.slow
def test_a_bucket_that_never_answers_is_told_before_the_platform_hangs_up(tmp_path: Path) -> None:
    """The upload had 120 s, and the platform hung up after 60 s without a reason."""
    platform_seconds = 9
    limits = {"MUSICGEN_CALL_SECONDS": platform_seconds - 1, "MUSICGEN_PLATFORM": "sagemaker"}
    with start_model_server(tmp_path, **_bucket_of(SilentServer()), **limits) as server:
        server.wait_until_ready()
        call = FIELDS | {"stream": False, "duration": 1}
        answer = server.http.post("/invocations", json=call, timeout=platform_seconds)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (502, "upload_failed"), answer.text
        lines = "".join(f'{{"prompt": "x", "duration": 1, "seed": {n}}}\n' for n in range(2))
        kind = {"Content-Type": "application/jsonlines"}
        answer = server.http.post(
            "/invocations", content=lines, headers=kind, timeout=platform_seconds
        )
        errors = [json.loads(line)["error"]["code"] for line in answer.text.splitlines()]
        assert errors == ["upload_failed"] * 2
        assert server.http.get("/ping").status_code == 200
        assert "Traceback" not in server.log


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["upload", "download"])
def test_sigterm_is_answered_while_another_server_is_silent(tmp_path: Path, phase: str) -> None:
    """The server waited for it, and its caller got no answer before the platform killed both."""
    silent = SilentServer()
    settings = _bucket_of(silent) if phase == "upload" else {}
    sound = {} if phase == "upload" else {"input_audio": silent.url, "continuation": True}
    networks = {"MUSICGEN_INPUT_NETWORKS": "127.0.0.0/8", "MUSICGEN_STOP_SECONDS": 4}
    with start_model_server(tmp_path, **settings, **networks) as server:
        server.wait_until_ready()

        def stop() -> None:
            silent.wait_for(opened=1)
            server.process.send_signal(signal.SIGTERM)

        threading.Thread(target=stop, daemon=True).start()
        call = FIELDS | {"stream": False, "duration": 1} | sound
        answer = server.http.post("/invocations", json=call, timeout=30)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "server_stopping")
        assert server.process.wait(40) == 0 and "Traceback" not in server.log


def _bucket_of(server: SilentServer) -> dict[str, str]:
    return {
        "MUSICGEN_BUCKET": "music",
        "MUSICGEN_BUCKET_ENDPOINT_URL": server.url.removesuffix("/sound.wav"),
        "MUSICGEN_BUCKET_ACCESS_KEY_ID": "key",
        "MUSICGEN_BUCKET_SECRET_ACCESS_KEY": "secret",
    }
