"""A streamed clip behind Cog's own server that uploads its outputs: which one is the clip?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from musicgen.errors import RemoteError
from musicgen.remote.cog_outputs import download_clip, rank_outputs
from musicgen.remote.cog_server import CogServer
from musicgen.remote.http_api import HttpApi
from tests.support.clips import RATE, wav
from tests.support.cog_server import Server, cog_server
from tests.support.web_neighbour import Neighbour, web_neighbour

pytest.importorskip("cog")

FIELDS = {"prompt": "x", "duration": 3.0, "seed": 5}


@pytest.fixture(scope="module")
def store() -> Iterator[Neighbour]:
    with web_neighbour(wav(1.0)) as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, store: Neighbour) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("cog")
    place = ("--upload-url", f"{store.url}/up/")
    with cog_server(folder, "predict.py:StreamingRunner", place) as running:
        yield running


def _hash_name(name: str) -> str:
    return "/files/" + hashlib.sha256(name.encode()).hexdigest()


@pytest.fixture(params=["names kept", "names lost"])
def slow_store(request: pytest.FixtureRequest, store: Neighbour) -> Iterator[Neighbour]:
    """The second piece takes longest, so that its upload ends after the clip's."""
    store.delay = lambda name: 1.5 if "piece-002" in name else 0.0
    store.rename = _hash_name if request.param == "names lost" else None
    store.uploads.clear()
    yield store
    store.delay, store.rename = lambda _: 0.0, None


def test_the_clip_is_told_apart_although_a_piece_is_listed_last(
    server: Server, slow_store: Neighbour
) -> None:
    """The last output was taken for the clip: 24 KB of 192 KB came."""
    answer = server.succeed(**FIELDS)
    last = answer["output"][-1]
    bodies = {slow_store.url + each.path: each.body for each in slow_store.uploads}
    whole = max(bodies.values(), key=len)
    assert bodies[last] != whole, "the order of the uploads did not change"
    assert hashlib.sha256(whole).hexdigest() == answer["metrics"]["clip_sha256"]
    if slow_store.rename is None:
        assert [name for name in answer["output"] if name.endswith("-clip.wav")]
        assert rank_outputs(answer["output"]) == [
            url for url, body in bodies.items() if body == whole
        ]

    server.wait_for("READY", 5)
    api = HttpApi(str(server.client.base_url), None, 60)
    (clip,) = CogServer(api).generate(FIELDS, lambda _: None)
    assert len(clip.data) == len(whole) > 3 * RATE * 2
    assert clip.seconds == 3


def test_a_storage_that_changes_the_clip_is_noticed(server: Server, store: Neighbour) -> None:
    store.rename = lambda _: "/elsewhere"
    try:
        with pytest.raises(RemoteError, match="clip_sha256"):
            CogServer(HttpApi(str(server.client.base_url), None, 60)).generate(
                {**FIELDS, "duration": 1.0}, lambda _: None
            )
    finally:
        store.rename = None


def test_a_deployment_without_names_and_hash_is_refused() -> None:
    """A list of URLs says nothing about the clip."""
    with pytest.raises(RemoteError, match="Push the model again"):
        download_clip(
            HttpApi("http://127.0.0.1:9", None, 1), ["http://s/1.wav", "http://s/2.wav"], {}
        )


@pytest.mark.parametrize("output", [None, [], [None], 5, {"a": 1}])
def test_an_output_without_a_clip_is_named(output: object) -> None:
    with pytest.raises(RemoteError, match="has no clip"):
        download_clip(HttpApi("http://127.0.0.1:9", None, 1), output, {})


@pytest.mark.parametrize(
    ("outputs", "first"),
    [
        (["data:audio/wav;base64,A", "data:audio/wav;base64,B"], "data:audio/wav;base64,B"),
        (["http://s/x-clip.wav", "http://s/x-piece-002.wav"], "http://s/x-clip.wav"),
        (
            ["http://s/x-clip.mp3?X=-piece-1.mp3", "http://s/y"],
            "http://s/x-clip.mp3?X=-piece-1.mp3",
        ),
        (
            ["http://bucket/2026/x.wav?sign=1", "http://s/x-piece-001.wav"],
            "http://bucket/2026/x.wav?sign=1",
        ),
        (
            ["http://bucket/2026/x.wav?sign=1", "data:audio/wav;base64,A"],
            "http://bucket/2026/x.wav?sign=1",
        ),
        (["http://s/one.wav"], "http://s/one.wav"),
    ],
)
def test_the_most_likely_clip_comes_first(outputs: list[str], first: str) -> None:
    assert rank_outputs(outputs)[0] == first
    assert rank_outputs(outputs[::-1])[0] == first or all(x.startswith("data:") for x in outputs)
