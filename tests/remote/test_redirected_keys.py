"""No client of this project carries a key along a redirect to another server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import pytest

from musicgen.checkpoints.remote_file import open_remote_file
from musicgen.remote.http_api import HttpApi
from musicgen.settings import BucketSettings
from musicgen_client import AsyncMusicGenClient, JobClip, MusicGenClient
from tests.support.recording_server import Recorder, record

KEY = "operators-key"


@pytest.fixture
def servers() -> Iterator[tuple[Recorder, Recorder]]:
    """One that redirects everything to the other."""
    with record() as first, record("127.0.0.2") as second:
        first.mode, first.location = "307", second.url
        yield first, second


def _call(url: str) -> None:
    with MusicGenClient(url, KEY) as client:
        client.models()


def _call_async(url: str) -> None:
    async def main() -> None:
        async with AsyncMusicGenClient(url, KEY) as client:
            await client.models()

    asyncio.run(main())


def _get(url: str) -> None:
    HttpApi(url, KEY, timeout=5).get("/status/x")


def _post_and_wait(url: str) -> None:
    HttpApi(url, KEY, timeout=5).post_and_wait("/predictions", {})


def _download_model(url: str) -> None:
    address = url.replace("http://", f"http://user:{KEY}@") + "/model"
    with open_remote_file(address, "a model", BucketSettings()):
        pass


@pytest.mark.parametrize("ask", [_call, _call_async, _get, _post_and_wait, _download_model])
def test_a_key_stays_with_its_server(
    servers: tuple[Recorder, Recorder], ask: Callable[[str], None]
) -> None:
    first, second = servers
    with suppress(Exception):  # what the second server answers is nothing to read
        ask(first.url)
    assert "Authorization" in first.transcript
    assert second.requests
    assert "authorization" not in second.transcript.lower()
    assert KEY not in second.transcript


def test_a_clip_on_another_server_is_fetched_without_the_key(
    servers: tuple[Recorder, Recorder],
) -> None:
    """The key of a job API is not a key of the bucket its answer names."""
    first, second = servers
    first.mode = "ok"
    clip = JobClip(f"{second.url}/clip.wav", "audio/wav", "")
    with MusicGenClient(first.url, KEY) as client:
        client.audio(replace(clip, url="/clip.wav"))
        client.audio(clip)
    assert KEY in first.transcript
    assert second.requests == ["GET /clip.wav"] and KEY not in second.transcript
