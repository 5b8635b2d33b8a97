"""Cog with two slots, and with weights of its own from a URL: what one server can show at once."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.clips import RATE, bytes_of, data_uri, wav
from tests.support.cog_server import DEMO, Server, cog_server
from tests.support.web_neighbour import LOOPBACK, Neighbour, web_neighbour

pytest.importorskip("cog")

LONG = 8.0
"""Seconds of audio that take longer to make than to ask the server something meanwhile."""


@pytest.fixture(scope="module")
def neighbour() -> Iterator[Neighbour]:
    with web_neighbour(wav(0.4)) as known:
        yield known


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, neighbour: Neighbour) -> Iterator[Server]:
    clip, neighbour.clip = neighbour.clip, _checkpoint("trained-1/")
    with cog_server(
        tmp_path_factory.mktemp("cog"),
        COG_MAX_CONCURRENCY="2",
        COG_WEIGHTS=f"{neighbour.url}/tuned.tar.gz?signature=secret",
        MUSICGEN_SLOTS="2",
        MUSICGEN_INPUT_NETWORKS=LOOPBACK,
        MUSICGEN_MODEL="no/such-model",
    ) as running:
        neighbour.clip = clip
        yield running


@pytest.fixture(scope="module")
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def _checkpoint(prefix: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tape:
        for path in DEMO.iterdir():
            tape.add(path, prefix + path.name)
    return packed.getvalue()


def _samples(answer: dict[str, Any]) -> bytes:
    return bytes_of(answer["output"])[-2 * RATE // 2 :]


def _ask(server: Server, **fields: Any) -> httpx.Response:
    return server.post(input={"prompt": "x"} | fields)


def _two(
    server: Server, callers: ThreadPoolExecutor, first: dict[str, Any], second: dict[str, Any]
) -> list[Future[httpx.Response]]:
    """Both are being made when this returns."""
    server.wait_for("READY", 10)
    both = [callers.submit(_ask, server, **fields) for fields in (first, second)]
    server.wait_for("BUSY", 20)
    return both


def test_weights_from_a_url_are_what_is_loaded(server: Server, plain_cog: Server) -> None:
    answer = server.succeed(seed=3)
    assert answer["metrics"]["model"] == "trained-1"
    assert (
        bytes_of(answer["output"])[-1000:] == bytes_of(plain_cog.succeed(seed=3)["output"])[-1000:]
    )
    assert "secret" not in server.log.read_text()
    assert not list(server.temporary.glob("musicgen-weights-*/fetched/*"))


def test_two_are_decoded_side_by_side_and_a_third_is_turned_away(
    server: Server, callers: ThreadPoolExecutor
) -> None:
    """Each has its own logs, metrics and sound."""
    asked = [{"duration": LONG, "seed": 1}, {"duration": LONG + 1, "seed": 2}]
    both = _two(server, callers, *asked)
    assert _ask(server).status_code == 409
    answers = [answer.result(60).json() for answer in both]
    for fields, answer in zip(asked, answers, strict=True):
        assert answer["status"] == "succeeded"
        assert answer["metrics"]["seed"] == fields["seed"]
        assert answer["metrics"]["audio_seconds"] == fields["duration"]
        assert re.findall(r"^seed (\d+)", answer["logs"], re.M) == [str(fields["seed"])]
        totals = set(re.findall(r"\d+/(\d+) steps", answer["logs"]))
        windows = 1 if fields["duration"] <= 8 else 2
        assert totals == {str(round(fields["duration"] * 50) + 3 * windows)}
    alone = server.succeed(prompt="x", **asked[0])
    assert alone["output"] == answers[0]["output"]


def test_one_that_is_cancelled_leaves_the_other_alone_and_frees_its_slot(
    server: Server, callers: ThreadPoolExecutor, neighbour: Neighbour
) -> None:
    server.wait_for("READY", 10)
    body = {
        "id": "cancelled",
        "input": {"prompt": "x", "duration": 300},
        "webhook": f"{neighbour.url}/webhook",
        "webhook_events_filter": ["logs", "completed"],
    }
    started = server.client.post("/predictions", json=body, headers={"Prefer": "respond-async"})
    assert started.status_code == 202
    other = callers.submit(_ask, server, duration=LONG)
    server.wait_for("BUSY", 20)
    neighbour.wait_for_logs("cancelled")
    assert server.post("/predictions/cancelled/cancel").status_code == 200
    neighbour.wait_for_status("canceled")
    server.succeed(duration=0.2)
    assert other.result(60).json()["status"] == "succeeded"


def test_the_output_of_another_prediction_is_not_deleted(server: Server) -> None:
    before = set(server.output_files())
    for _ in range(2):
        server.succeed(duration=0.2)
    assert before < set(server.output_files())
    assert len(server.output_files()) == len(before) + 2


def test_a_network_that_is_allowed_is_asked_but_its_redirects_are_checked(
    server: Server, neighbour: Neighbour
) -> None:
    fields = {"prompt": "", "duration": 1.0, "continuation": True, "seed": 3}
    neighbour.redirect = "http://169.254.169.254/latest/meta-data/"
    fetched = server.succeed(**fields, input_audio=f"{neighbour.url}/clip.wav?token=secret")
    inline = server.succeed(**fields, input_audio=data_uri(neighbour.clip))
    assert fetched["output"] == inline["output"]
    refused = server.fail(**fields, input_audio=f"{neighbour.url}/redirect")
    assert "input_audio_refused: " in refused
    assert not list(server.temporary.glob("musicgen-input-*")), "what was fetched is deleted"


def test_predictions_that_share_one_slot_wait_and_keep_their_outputs(
    tmp_path: Path, callers: ThreadPoolExecutor
) -> None:
    """The second one deleted the folder's files while the first one was writing there."""
    variables = {"COG_MAX_CONCURRENCY": "2", "MUSICGEN_SLOTS": "1"}
    with cog_server(tmp_path / "cog", **variables) as server:
        asked = [callers.submit(_ask, server, duration=4, seed=seed) for seed in (1, 2)]
        answers = [answer.result(60).json() for answer in asked]
        assert [answer["status"] for answer in answers] == ["succeeded"] * 2, answers
        assert [answer["metrics"]["seed"] for answer in answers] == [1, 2]
        assert len(server.output_files()) == 2
