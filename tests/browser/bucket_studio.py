"""A server whose clips are in a bucket of another origin, for the tests of its page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.browser.conftest import serve
from tests.support.bucket_settings import bucket_settings
from tests.support.job_server import data_folder
from tests.support.seaweedfs import BUCKET, SeaweedFS, seaweedfs


def open_bucket(folder: Path) -> Iterator[SeaweedFS]:
    """Yield a bucket that pages of other origins may read."""
    with seaweedfs(folder) as running:
        rule = {"AllowedOrigins": ["*"], "AllowedMethods": ["GET"], "AllowedHeaders": ["*"]}
        running.client().put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": [rule]})
        yield running


def serve_with_bucket(
    bucket: SeaweedFS, delivery: str, environment: dict[str, str], folder: Path
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the address of a server, and the other origins that its page may ask.

    The server reaches the bucket by an address of its own, as inside a cluster.
    """
    public = bucket.url.replace("127.0.0.1", "localhost")
    with data_folder() as data:
        settings = bucket_settings(
            bucket,
            MUSICGEN_DATA_DIR=data,
            MUSICGEN_BUCKET_PUBLIC_ENDPOINT_URL=public,
            MUSICGEN_BUCKET_DELIVERY=delivery,
        )
        env = environment | {name: str(value) for name, value in settings.items()}
        for address in serve(env, folder):
            yield address, (public,) if delivery == "redirect" else ()
