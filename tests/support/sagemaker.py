"""boto3's client of SageMaker's runtime, with a front on loopback before the container."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import httpx
from botocore.config import Config


@contextmanager
def open_sagemaker(front: type[BaseHTTPRequestHandler], container: httpx.Client) -> Iterator[Any]:
    """Serve `front`, which gets the `container`, and yield a client of it."""
    handler = type("Front", (front,), {"container": container})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield boto3.client(
            "sagemaker-runtime",
            endpoint_url=f"http://127.0.0.1:{server.server_port}",
            region_name="eu-west-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            config=Config(retries={"max_attempts": 0}),
        )
    finally:
        server.shutdown()
        server.server_close()
