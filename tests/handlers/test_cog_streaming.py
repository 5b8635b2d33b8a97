"""StreamingRunner behind Cog's own server: pieces that can be played while the clip is made."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from tests.support.clips import RATE, bytes_of, decoded
from tests.support.cog_server import Server, cog_server

pytest.importorskip("cog")

EVENTS = {"Accept": "text/event-stream"}
BODY = {"input": {"prompt": "x", "duration": 3, "seed": 5}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("cog")
    with cog_server(folder, "predict.py:StreamingRunner") as running:
        yield running


def _events(server: Server) -> list[tuple[str, Any]]:
    server.wait_for("READY", 5)
    with server.client.stream("POST", "/predictions", json=BODY, headers=EVENTS) as response:
        assert response.status_code == 200, response.read()
        lines = [line for line in response.iter_lines() if line]
    names = [line.removeprefix("event: ") for line in lines[::2]]
    return list(zip(names, (json.loads(line[5:]) for line in lines[1::2]), strict=True))


@pytest.mark.parametrize(
    ("output_format", "kind"), [("wav", "audio/wav"), ("mp3", "audio/mpeg"), ("ogg", "audio/ogg")]
)
def test_every_piece_plays_and_the_last_one_is_the_whole_clip(
    server: Server, output_format: str, kind: str
) -> None:
    answer = server.succeed(duration=3, seed=5, output_format=output_format)
    *pieces, whole = [decoded(uri, kind)[0] for uri in answer["output"]]
    assert len(pieces) > 1
    assert len(whole) == 3 * RATE
    if output_format != "mp3":
        assert sum(map(len, pieces)) == 3 * RATE
    assert answer["metrics"]["seed"] == 5
    assert "100%|##########| " in answer["logs"]


def test_the_pieces_are_the_clip_before_its_level_is_set(server: Server) -> None:
    """Only a limiter acts on them: its gain is at most 1, and 1 where the sound is quiet."""
    loud = server.succeed(duration=3, seed=5, bit_depth="float")
    plain = server.succeed(duration=3, seed=5, bit_depth="float", normalization_strategy="none")
    *pieces, whole = [_pcm(uri) for uri in plain["output"]]
    unlimited = np.concatenate(pieces)
    np.testing.assert_allclose(unlimited, whole.clip(-1, 1), atol=1e-3)
    *limited, levelled = [_pcm(uri) for uri in loud["output"]]
    gain = np.concatenate(limited) / np.where(unlimited == 0, 1, unlimited)
    assert gain.max() <= 1 + 1e-5 and np.abs(np.concatenate(limited)).max() < 10 ** (-1 / 20)
    assert np.median(np.abs(gain[np.abs(unlimited) > 1e-3] - 1)) < 0.5
    assert np.abs(levelled - whole).max() > 0.01


def test_the_same_request_as_events_gives_the_same_files(server: Server) -> None:
    events = _events(server)
    chunks = [body["chunk"] for name, body in events if name == "output"]
    assert events[0][0] == "start"
    assert events[-1][0] == "completed"
    assert events[-1][1]["status"] == "succeeded"
    assert chunks == events[-1][1]["output"] == server.succeed(**BODY["input"])["output"]


def test_a_piece_is_sent_before_the_clip_is_complete(server: Server) -> None:
    """Guards an async generator: Cog keeps what it yields until it has ended."""
    events = [(name, str(body)) for name, body in _events(server)]
    first_piece = next(i for i, (name, _) in enumerate(events) if name == "output")
    complete = next(i for i, (name, body) in enumerate(events) if name == "log" and "100%" in body)
    assert first_piece < complete


def test_a_listener_who_leaves_stops_the_decode(server: Server) -> None:
    body = {"input": {"prompt": "x", "duration": 30}}
    server.wait_for("READY", 5)
    with server.client.stream("POST", "/predictions", json=body, headers=EVENTS) as response:
        next(line for line in response.iter_lines() if line == "event: output")
    server.wait_for("READY", 10)
    server.succeed()


def test_a_format_that_cannot_be_cut_is_refused(server: Server) -> None:
    assert "unknown_format: output_format must be one of wav, mp3" in server.fail(
        output_format="flac"
    )


def test_the_schema_says_that_it_streams_files(server: Server) -> None:
    schema = server.client.get("/openapi.json").json()
    assert schema["paths"]["/predictions"]["post"]["x-cog-streaming"] is True
    assert schema["components"]["schemas"]["Output"]["items"]["format"] == "uri"


def test_a_runner_of_one_file_does_not_stream(plain_cog: Server) -> None:
    assert plain_cog.client.post("/predictions", json=BODY, headers=EVENTS).status_code == 406


def _pcm(uri: str) -> Any:
    return sf.read(io.BytesIO(bytes_of(uri)), always_2d=True)[0]
