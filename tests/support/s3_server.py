"""A bucket `music` on a server of moto's, and the settings that lead to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import httpx
from moto.server import ThreadedMotoServer


@dataclass(frozen=True)
class Bucket:
    env: dict[str, str]
    client: Any

    def keys(self) -> list[str]:
        return [
            each["Key"] for each in self.client.list_objects(Bucket="music").get("Contents", [])
        ]


_running = 0
"""Servers of this process that run now: they share moto's objects."""


@contextmanager
def s3_server() -> Iterator[Bucket]:
    """Run a server with the empty bucket `music`. Servers at the same time share their objects."""
    global _running
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    if _running == 0:
        httpx.post(f"{url}/moto-api/reset").raise_for_status()
    client = connect(url)
    client.create_bucket(Bucket="music")
    env = {
        "MUSICGEN_BUCKET": "music",
        "MUSICGEN_BUCKET_ENDPOINT_URL": url,
        "MUSICGEN_BUCKET_REGION": "us-east-1",
        "MUSICGEN_BUCKET_ACCESS_KEY_ID": "id",
        "MUSICGEN_BUCKET_SECRET_ACCESS_KEY": "secret",
        "MUSICGEN_BUCKET_DEADLINE": "2",
    }
    _running += 1
    try:
        yield Bucket(env, client)
    finally:
        _running -= 1
        server.stop()


def connect(url: str) -> Any:
    """A client of a server without rights of its own."""
    access = {"aws_access_key_id": "id", "aws_secret_access_key": "secret"}
    return boto3.client("s3", endpoint_url=url, region_name="us-east-1", **access)
