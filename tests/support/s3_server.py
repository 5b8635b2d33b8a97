"""A bucket `music` on a server of moto's, and the settings that lead to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
from moto.server import ThreadedMotoServer


@dataclass(frozen=True)
class Bucket:
    env: dict[str, str]
    client: Any

    def keys(self) -> list[str]:
        return [
            each["Key"] for each in self.client.list_objects(Bucket="music").get("Contents", [])
        ]


@contextmanager
def s3_server() -> Iterator[Bucket]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
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
    yield Bucket(env, client)
    server.stop()


def connect(url: str) -> Any:
    """A client of a server without rights of its own."""
    access = {"aws_access_key_id": "id", "aws_secret_access_key": "secret"}
    return boto3.client("s3", endpoint_url=url, region_name="us-east-1", **access)
