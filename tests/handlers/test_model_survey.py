"""The survey of the models that a worker's machine cannot have."""

from __future__ import annotations

import asyncio
import http.server
import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from handlers import model_survey
from handlers.model_survey import ModelSurvey, find_missing_models, is_hub_reachable
from musicgen import catalog

HUB_MODELS = {name for name, entry in catalog.CATALOG.items() if entry.source != "package"}
HUB_MODELS.add(catalog.DIFFUSION)


@pytest.fixture
def hub() -> Iterator[str]:
    class Hub(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")


def test_without_the_hub_only_the_embedded_model_is_left() -> None:
    assert set(find_missing_models()) == HUB_MODELS


def test_with_the_hub_nothing_is_missing(monkeypatch: pytest.MonkeyPatch, hub: str) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", hub)
    assert find_missing_models() == ()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not is_hub_reachable()
    assert set(find_missing_models()) == HUB_MODELS


def test_a_model_on_the_disk_is_not_missing(tmp_path: Path) -> None:
    repository = tmp_path / "models--facebook--musicgen-small"
    folder = repository / "snapshots" / ("a" * 40)
    folder.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    (folder / "model.safetensors").write_bytes(b"x")
    assert set(find_missing_models()) == HUB_MODELS - {"small"}


def test_without_pytorch_no_file_of_the_catalog_can_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        model_survey.importlib.util,
        "find_spec",
        lambda name: None if name == "torch" else found(name),
    )
    assert set(find_missing_models()) == {*catalog.CATALOG, catalog.DIFFUSION}


def test_a_worker_has_its_survey_made_by_a_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(model_survey, "IDLE_SECONDS", 0.1)
    survey = ModelSurvey()

    async def wait_for_answer() -> None:
        task = asyncio.create_task(survey.run(lambda: True))
        while not survey.missing:
            await asyncio.sleep(0.05)
        task.cancel()

    asyncio.run(asyncio.wait_for(wait_for_answer(), 60))
    assert set(survey.missing) == HUB_MODELS


def test_the_survey_waits_until_the_worker_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_survey, "IDLE_SECONDS", 0.2)
    surveys: list[float] = []

    async def survey() -> tuple[str, ...]:
        surveys.append(asyncio.get_running_loop().time())
        return ("large",)

    monkeypatch.setattr(model_survey, "_survey_in_process", survey)

    async def work_then_rest() -> float:
        is_idle = False
        task = asyncio.create_task(ModelSurvey().run(lambda: is_idle))
        await asyncio.sleep(0.6)
        assert surveys == []
        is_idle, ended = True, asyncio.get_running_loop().time()
        while not surveys:
            await asyncio.sleep(0.01)
        task.cancel()
        return surveys[0] - ended

    assert asyncio.run(asyncio.wait_for(work_then_rest(), 30)) > 0.1


def test_the_survey_of_a_worker_without_rest_comes_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_survey, "LONGEST_WAIT_SECONDS", 0.1)
    asyncio.run(asyncio.wait_for(model_survey._wait_for_rest(lambda: False), 30))


def test_a_hub_that_fails_once_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    statuses = [503, 200]

    class Moody(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(statuses.pop(0))
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Moody) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        assert is_hub_reachable()
        server.shutdown()
    assert statuses == []
