"""Another model takes over while jobs go on; one that is broken takes over nothing."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from handlers.contract import UNEXPECTED
from handlers.job_api.store.database import Pool
from handlers.job_api.store.models import read_requested_model, request_model
from handlers.job_api.worker import model_swap
from handlers.serving import Serving
from tests.support import ROOT
from tests.support.cog_server import DEMO, hub_cache
from tests.support.fake_predictor import FakePredictor
from tests.support.job_server import JobServer, data_folder, job_server


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobServer]:
    """A fine-tune with `small` in the hub's cache, and a `large` whose weights are cut off."""
    hub: Path = hub_cache(tmp_path_factory.mktemp("hub"))
    tune = shutil.copytree(DEMO, tmp_path_factory.mktemp("models") / "tune")
    (tune / "README.md").write_text("---\nlicense: cc-by-nc-sa-4.0\n---\n")
    settings = {
        "MUSICGEN_MODEL": tune,
        "HF_HUB_OFFLINE": 1,
        "HF_HUB_CACHE": hub,
        "MUSICGEN_SLOTS": 2,
        "MUSICGEN_MODELS_KEPT": 2,
        "MUSICGEN_RATE_LIMIT": "100000/minute",
    }
    with data_folder() as folder, job_server(folder, **settings) as running:
        yield running


def _until(server: JobServer, name: str, what: str) -> dict[str, Any]:
    """What is told of a model once `what` is true of it."""
    end = time.monotonic() + 60
    while True:
        models = server.http.get("/v1/models").json()
        model: dict[str, Any] = next(each for each in models["data"] if each["id"] == name)
        if model[what]:
            return {**model, "default": models["default"]}
        assert time.monotonic() < end, models
        time.sleep(0.1)


def test_a_model_outside_the_catalog_has_the_licence_of_its_card(offline: JobServer) -> None:
    """The page shows it where a model is chosen."""
    tune = _until(offline, "tune", "loaded")
    assert tune["licence"] == "cc-by-nc-sa-4.0"
    assert offline.ended(offline.submit())["result"]["licence"] == tune["licence"]


def test_a_model_is_swapped_while_a_job_goes_on(offline: JobServer) -> None:
    running = offline.submit(duration=60)
    offline.until(running, lambda now: now["status"] == "running")
    answer = offline.http.post("/v1/models/small/load")
    assert (answer.status_code, answer.json()["status"]) == (202, "loading")
    assert _until(offline, "small", "loaded")["default"] == "small"
    after = offline.ended(offline.submit(seed=1))["result"]
    assert (after["model"], after["licence"]) == ("small", "CC-BY-NC-4.0")
    before = offline.ended(running)
    assert (before["status"], before["attempt"]) == ("completed", 1)
    assert before["result"]["model"] == "tune"


def test_a_model_that_cannot_be_loaded_is_told_and_changes_nothing(offline: JobServer) -> None:
    default = offline.http.get("/v1/models").json()["default"]
    assert offline.http.post("/v1/models/large/load").json()["status"] == "loading"
    told = _until(offline, "large", "error")
    assert not told["loaded"] and not told["loading"]
    texts = (ROOT / "handlers/job_api/web/js/texts/server_de.js").read_text(encoding="utf-8")
    assert f'"error.{told["error_code"]}"' in texts, "the page has words of its own for it"
    assert told["default"] == offline.ended(offline.submit())["result"]["model"] == default
    # Asked for again, it is tried again: it may have been mended.
    assert offline.http.post("/v1/models/large/load").status_code == 202
    assert _until(offline, "large", "error")["error"]
    assert offline.http.post(f"/v1/models/{default}/load").status_code == 202


def test_an_unexpected_failure_of_a_load_is_not_repeated(
    with_pool: Callable[[Callable[[Pool], Awaitable[Any]]], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The worker read the weights again every second, and callers waited without a word."""
    monkeypatch.setattr(model_swap, "POLL_SECONDS", 0.01)
    predictor = FakePredictor(tmp_path, switch_fails=RuntimeError("of the driver, in /srv"))

    async def work(pool: Pool) -> None:
        await request_model(pool, "small", "demo")
        running = asyncio.create_task(model_swap.ModelSwap(Serving(predictor), pool).run())
        while (model := await read_requested_model(pool)) is None or model.error is None:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        running.cancel()
        assert model.error == UNEXPECTED

    with_pool(lambda pool: asyncio.wait_for(work(pool), 20))
    assert predictor.switches.count("small") == 1
