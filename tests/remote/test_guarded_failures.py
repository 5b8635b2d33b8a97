"""What cannot be made elsewhere: cancelled, late, refused, with nobody there, for no money."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from musicgen.errors import GenerationCancelled, InvalidDuration, RemoteError, SettingsError
from musicgen.remote import runpod_endpoint
from musicgen.remote.errors import RemoteRefusal
from musicgen.remote.generate import RemoteResult
from musicgen.remote.guarded import LEDGER_PAUSE_SECONDS, RemoteUnavailable
from musicgen.remote.http_api import Unreachable
from musicgen.settings import RemoteTokens
from tests.support.cog_server import Server
from tests.support.elsewhere import FIELDS, Elsewhere, make
from tests.support.platform_apis import ReplicateApi, RunPodApi, served
from tests.support.runpod_queue import Queue, runpod_queue, until

pytestmark = pytest.mark.usefixtures("platforms")
LONG = {"prompt": "x", "duration": 300.0, "seed": 1, "output_format": "mp3", "bitrate": 64}
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def silent_peer() -> Iterator[str]:
    """It takes every connection and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def _begun(work: Callable[[], RemoteResult]) -> Future[RemoteResult]:
    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)
    pool.shutdown(wait=False)
    return future


def test_cancelling_stops_a_cog_container(elsewhere: Elsewhere, cog: Server) -> None:
    """By hanging up; what ran until then is paid."""
    hybrid = elsewhere.hybrid(str(cog.client.base_url))
    cancelled = threading.Event()
    before = cog.log.read_text()
    making = _begun(lambda: make(hybrid, LONG, cancelled))
    until(lambda: "steps decoded" in cog.log.read_text()[len(before) :], "it never began")
    cancelled.set()
    with pytest.raises(GenerationCancelled):
        making.result(30)
    cog.wait_for("READY", 30)
    assert "100%" not in cog.log.read_text()[len(before) :]
    assert elsewhere.spent > 0
    assert hybrid.breaker.state == "closed" and hybrid.breaker.failures == 0


def test_cancelling_stops_a_prediction(
    elsewhere: Elsewhere, cog: Server, replicate_api: ReplicateApi
) -> None:
    cancelled = threading.Event()
    before = cog.log.read_text()
    hybrid = elsewhere.hybrid("replicate", "me/music")
    making = _begun(lambda: make(hybrid, LONG, cancelled))
    until(lambda: "steps decoded" in cog.log.read_text()[len(before) :], "it never began")
    name = list(replicate_api.predictions)[-1]
    cancelled.set()
    with pytest.raises(GenerationCancelled):
        making.result(30)
    until(lambda: replicate_api.predictions[name]["status"] == "canceled", "it goes on")


def test_cancelling_stops_a_job(elsewhere: Elsewhere, queue: Queue, runpod_api: RunPodApi) -> None:
    cancelled = threading.Event()
    hybrid = elsewhere.hybrid("runpod", "ep1")
    fractions: list[float] = []

    def tell(fraction: float | None, _: str) -> None:
        fractions.extend([] if fraction is None else [fraction])

    making = _begun(lambda: hybrid.generate(LONG, on_progress=tell, cancelled=cancelled))
    until(lambda: fractions or making.done(), "no progress was told")
    name = f"api-{runpod_api.jobs}"
    cancelled.set()
    with pytest.raises(GenerationCancelled):
        making.result(30)
    assert runpod_api.cancelled[-1] == name
    assert queue.run("the next one")["output"]
    assert not queue.of(name, "result"), "it was made to its end"
    assert 0 < fractions[0] < 1 and fractions == sorted(fractions)


def test_what_never_ran_is_given_back(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Late in a queue where no worker is, and cancelled there: nobody waits for it any more."""
    with runpod_queue() as empty:
        api = RunPodApi(empty, status_of_waiting="IN_QUEUE")
        with served(api) as address:
            monkeypatch.setattr(runpod_endpoint, "BASE_URL", address)
            hybrid = elsewhere.hybrid("runpod", "ep1", timeout=1.0)
            with pytest.raises(RemoteError, match="MUSICGEN_REMOTE_TIMEOUT_SECONDS"):
                make(hybrid, FIELDS)
        assert api.cancelled == ["api-1"]
        # RunPod drops it by itself where this machine could not any more.
        assert empty.waiting[0]["policy"] == {"executionTimeout": 10_000, "ttl": 10_000}
    assert elsewhere.spent == 0
    assert hybrid.breaker.failures == 1


def test_a_container_is_hung_up_on_when_it_is_late(elsewhere: Elsewhere, cog: Server) -> None:
    before = len(cog.log.read_text())
    hybrid = elsewhere.hybrid(str(cog.client.base_url), timeout=2.0)
    with pytest.raises(RemoteError, match="no result in time"):
        make(hybrid, LONG)
    cog.wait_for("READY", 30)
    assert "100%" not in cog.log.read_text()[before:]


@pytest.mark.parametrize("target", ["url", "hf"])
def test_a_peer_that_never_answers_is_left(
    elsewhere: Elsewhere, silent_peer: str, target: str
) -> None:
    hybrid = (
        elsewhere.hybrid(silent_peer, timeout=1.0)
        if target == "url"
        else elsewhere.hybrid("hf", silent_peer, timeout=1.0)
    )
    with pytest.raises(RemoteError):
        make(hybrid, FIELDS)
    assert hybrid.breaker.failures == 1


def test_waiting_for_an_answer_can_be_cancelled(elsewhere: Elsewhere, silent_peer: str) -> None:
    cancelled = threading.Event()
    hybrid = elsewhere.hybrid("hf", silent_peer)
    making = _begun(lambda: make(hybrid, FIELDS, cancelled))
    time.sleep(0.2)
    assert not making.done()
    cancelled.set()
    with pytest.raises(GenerationCancelled):
        making.result(30)


def test_a_dead_peer_opens_the_breaker_and_one_that_is_back_closes_it(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, str]
) -> None:
    monkeypatch.setattr(runpod_endpoint, "BASE_URL", NOBODY)
    hybrid = elsewhere.hybrid("runpod", "ep1")
    for _ in range(3):
        with pytest.raises(Unreachable):
            make(hybrid, FIELDS)
    monkeypatch.setattr(runpod_endpoint, "BASE_URL", addresses[1])
    with pytest.raises(RemoteUnavailable, match=r"failed 3 times in a row\. .* in 60 s") as raised:
        make(hybrid, FIELDS)
    assert raised.value.retry_after == 60.0
    assert elsewhere.spent == 0, "nobody was there to be paid"
    elsewhere.now += 60.0
    tried, refused = threading.Event(), threading.Event()

    def tell(*_: object) -> None:
        tried.set()
        refused.wait(30)

    trial = _begun(lambda: hybrid.generate(FIELDS, on_progress=tell, cancelled=threading.Event()))
    assert tried.wait(30)
    for _ in range(3):
        with pytest.raises(RemoteUnavailable, match="A trial is running"):
            make(hybrid, FIELDS)
    refused.set()
    assert trial.result(30).clips
    assert hybrid.breaker.state == "closed"
    assert make(hybrid, FIELDS).clips


def test_one_that_is_still_dead_opens_it_again(elsewhere: Elsewhere) -> None:
    hybrid = elsewhere.hybrid(NOBODY)
    for _ in range(3):
        with pytest.raises(Unreachable):
            make(hybrid, FIELDS)
    elsewhere.now += 60.0
    with pytest.raises(Unreachable):
        make(hybrid, FIELDS)
    assert hybrid.breaker.state == "open"


def test_bad_input_is_refused_before_anybody_is_asked(elsewhere: Elsewhere) -> None:
    hybrid = elsewhere.hybrid(NOBODY)
    with pytest.raises(InvalidDuration):
        make(hybrid, {"prompt": "x", "duration": 999})
    assert hybrid.breaker.failures == 0 and elsewhere.spent == 0


def test_at_the_cap_nobody_is_asked(elsewhere: Elsewhere, runpod_api: RunPodApi) -> None:
    hybrid = elsewhere.hybrid("runpod", "ep1", cap=Decimal("0.006"))
    asked = runpod_api.jobs
    assert make(hybrid, FIELDS).cost_usd == 0.0015
    with pytest.raises(RemoteUnavailable, match=r"0\.0015 of 0\.006 USD for 2026-01 spent or"):
        make(hybrid, FIELDS)
    assert runpod_api.jobs == asked + 1
    assert hybrid.breaker.state == "closed"


def test_what_cannot_be_counted_is_not_spent(elsewhere: Elsewhere, runpod_api: RunPodApi) -> None:
    asked = runpod_api.jobs
    hybrid = elsewhere.hybrid("runpod", "ep1")
    elsewhere.ledger.is_broken = True
    with pytest.raises(RemoteUnavailable, match="the ledger of spending failed") as raised:
        make(hybrid, FIELDS)
    assert raised.value.retry_after == LEDGER_PAUSE_SECONDS
    assert runpod_api.jobs == asked


@pytest.mark.parametrize(("platform", "name"), [("replicate", "me/music"), ("runpod", "ep1")])
def test_a_wrong_token_costs_nothing_and_is_not_repeated(
    elsewhere: Elsewhere, platform: str, name: str
) -> None:
    wrong = "not-the-token"
    hybrid = elsewhere.hybrid(platform, name, RemoteTokens(wrong, wrong, wrong))
    with pytest.raises(RemoteRefusal, match="HTTP 401") as raised:
        make(hybrid, FIELDS)
    assert wrong not in str(raised.value) and not raised.value.is_request_fault
    assert elsewhere.spent == 0
    with pytest.raises(SettingsError, match="_API_"):
        elsewhere.hybrid(platform, name, RemoteTokens())


def test_an_answer_of_another_kind_is_an_error_of_ours(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards a KeyError that ends a worker."""

    class Odd:
        def answer(self, *_: object) -> tuple[int, dict[str, Any]]:
            return 200, {"state": "fine"}

    with served(Odd()) as address:
        monkeypatch.setattr(runpod_endpoint, "BASE_URL", address)
        with pytest.raises(RemoteError, match="unknown form"):
            make(elsewhere.hybrid("runpod", "ep1"), FIELDS)
        with pytest.raises(RemoteError, match="holds no clips"):
            make(elsewhere.hybrid("hf", address), FIELDS)
