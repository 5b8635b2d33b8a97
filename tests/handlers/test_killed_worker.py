"""A worker that is killed when its clip is made and not yet in the bucket loses nothing."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from handlers.cli import main as cli
from musicgen.predictor import Predictor
from musicgen.request import GenerationRequest
from musicgen.settings import Settings
from tests.support.runpod_queue import DEADLINE, local_process

CREDENTIALS = {
    "MUSICGEN_BUCKET_ACCESS_KEY_ID": "an-id",
    "MUSICGEN_BUCKET_SECRET_ACCESS_KEY": "a-secret",
}
FIELDS = {"prompt": "calm piano", "duration": 0.3, "seed": 5}


@contextmanager
def _silent_server(port: int) -> Iterator[None]:
    """Takes connections and never answers, as a bucket does whose network has gone."""
    with socket.create_server(("127.0.0.1", port)) as server:
        connections: list[socket.socket] = []

        def take() -> None:
            try:
                while True:
                    connections.append(server.accept()[0])
            except OSError:
                return

        threading.Thread(target=take, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for connection in connections:
                connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_its_clip_is_in_the_spool_and_the_next_process_sends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, spool = _free_port(), tmp_path / "spool"
    variables = CREDENTIALS | {
        "MUSICGEN_BUCKET": "music",
        "MUSICGEN_BUCKET_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "MUSICGEN_SPOOL_DIR": str(spool),
    }
    job = ["--test_input", json.dumps({"id": "killed-job", "input": FIELDS})]
    with (
        _silent_server(port),
        local_process(tmp_path / "worker", job, **variables) as worker,
    ):
        end = time.monotonic() + DEADLINE
        while not list(spool.glob("*.json")):
            assert time.monotonic() < end and worker.process.poll() is None, worker.log.read_text()
            time.sleep(0.02)
        worker.process.kill()
        worker.process.wait()
    (clip,) = spool.glob("*.clip")
    expected = Predictor.load(Settings(threads=1, data_dir=tmp_path / "again")).generate(
        GenerationRequest.from_mapping(FIELDS)
    )
    assert clip.read_bytes() == Path(expected.clips[0].address).read_bytes()

    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    try:
        client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            aws_access_key_id="an-id",
            aws_secret_access_key="a-secret",
            region_name="us-east-1",
        )
        client.create_bucket(Bucket="music")
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert cli.main(["uploads", "retry"]) == 0
        body = client.get_object(Bucket="music", Key="musicgen/killed-job/clip.wav")["Body"]
        assert body.read() == Path(expected.clips[0].address).read_bytes()
    finally:
        server.stop()
    assert not list(spool.iterdir())
