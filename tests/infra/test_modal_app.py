"""The app of Modal, built by the real package, without an account."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from starlette.testclient import TestClient

from handlers.runpod_job import RunPodJobs
from infra.modal.options import ModalOptions, OptionError
from musicgen.predictor import Predictor
from musicgen.settings import Settings
from tests.support import ROOT

pytestmark = [
    pytest.mark.filterwarnings("ignore:The .* function is executing locally"),
]
Build = Callable[..., ModuleType]


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Build:
    """Return a function to import the app anew, with options."""

    def build(**options: str) -> ModuleType:
        for name, value in options.items():
            monkeypatch.setenv(f"MODAL_APP_{name.upper()}", value)
        monkeypatch.delitem(sys.modules, "infra.modal.app", raising=False)
        return importlib.import_module("infra.modal.app")

    monkeypatch.setenv("MUSICGEN_DATA_DIR", str(tmp_path))
    return build


def _describe(module: ModuleType) -> Any:
    # The public `info` asks Modal's servers.
    return module.app._local_state.functions["MusicGenApp.*"]._function_info


def test_the_app_describes_its_gpu_volume_scaling_and_snapshot(build: Build) -> None:
    module = build(gpu="L4,A10", idle="90", slots="4", max="5", name="tunes")
    info = _describe(module)
    assert module.app.name == "tunes"
    assert [gpu for gpu, _ in info.gpus] == ["L4", "A10"]
    assert info.concurrency_info.max_inputs == 4
    assert {k: v.name for k, v in info.volumes.items()} == {"/weights": "tunes-weights"}
    assert info.timeout == 1200 and set(info.method_names) == {"generate", "web"}
    assert info.method_details["web"].unauthenticated is False


def test_the_web_address_can_be_public_or_left_out(build: Build) -> None:
    assert _describe(build(access="public")).method_details["web"].unauthenticated is True
    assert _describe(build(access="off")).method_names == ["generate"]


def test_the_processor_needs_no_gpu_and_its_snapshot_holds_the_model(build: Build) -> None:
    module = build(gpu="none")
    assert not _describe(module).gpus
    assert module.OPTIONS.loads_before_snapshot
    assert not ModalOptions().loads_before_snapshot
    assert ModalOptions(snapshot="gpu").loads_before_snapshot


def test_a_container_has_the_options_of_its_deployment() -> None:
    options = ModalOptions(gpu=("H100",), secrets=("bucket",), min=1)
    assert ModalOptions.from_env(options.to_variables()) == options
    env = {"MODAL_APP_OPTIONS": options.to_json(), "MODAL_APP_GPU": "T4"}
    assert ModalOptions.from_env(env) == options


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"MODAL_APP_SLOTS": "0"}, "MODAL_APP_SLOTS must be between 1 and 64"),
        ({"MODAL_APP_MAX": "many"}, "MODAL_APP_MAX must be a whole number"),
        ({"MODAL_APP_MIN": "4"}, "MODAL_APP_MAX must be between 4"),
        ({"MODAL_APP_IDLE": "3600"}, "MODAL_APP_IDLE"),
        ({"MODAL_APP_SNAPSHOT": "yes"}, "one of off, cpu, gpu"),
        ({"MODAL_APP_SNAPSHOT": "gpu", "MODAL_APP_GPU": "none"}, "name a GPU"),
        ({"MODAL_APP_ACCESS": "all"}, "one of key, public, off"),
        ({"MODAL_APP_MODEL": " "}, "must not be empty"),
        ({"MODAL_APP_GPUS": "L4"}, "MODAL_APP_GPUS is unknown"),
    ],
)
def test_wrong_options_are_named(variables: dict[str, str], told: str) -> None:
    with pytest.raises(OptionError, match=told):
        ModalOptions.from_env(variables)


def test_a_local_call_and_the_web_address_give_the_bytes_of_runpod(build: Build) -> None:
    fields = {"prompt": "calm piano", "duration": 1, "seed": 7}
    served = build(model="demo").MusicGenApp()
    reply = asyncio.run(served.generate.local(fields))
    with TestClient(served.web.local()) as web:
        health = web.get("/").json()
        answer = web.post("/", json=fields)
    assert health["models"] == ["demo"] and health["licences"]["demo"]
    assert answer.status_code == 200
    predictor = Predictor.load(Settings())
    job = asyncio.run(RunPodJobs(predictor, Settings()).handle({"id": "j", "input": fields}))
    sums = {_hash(each) for each in (reply, answer.json(), job)}
    assert len(sums) == 1
    assert _drop_times(reply).keys() == _drop_times(job).keys()


def test_a_bad_body_gets_the_status_of_its_error(build: Build) -> None:
    served = build(model="demo").MusicGenApp()
    with TestClient(served.web.local()) as web:
        for body, told in (
            (b"{", "body must be JSON"),
            (b"[" * 100_000, "body must be JSON"),
            (b"[1]", "body must be a JSON object"),
            (json.dumps({"duration": 1}).encode(), "prompt must not be empty"),
            (b" " * 20_000_001, "Send the address of the sound instead"),
        ):
            answer = web.post("/", content=body)
            assert answer.status_code == (413 if len(body) > 20_000_000 else 422), answer.text
            assert told in answer.json()["error"]


def test_packed_weights_in_the_volume_are_served(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = build(model="demo", gpu="none")
    monkeypatch.setattr(module, "WEIGHTS", tmp_path / "volume")
    assert module.choose_model("demo") == "demo"
    assert module.fill_volume.local("demo", "plain-float32")
    packed = module.choose_model("demo")
    assert packed == str(tmp_path / "volume/demo.packed")
    calls = module.load_calls("demo")
    reply = asyncio.run(calls.generate({"prompt": "x", "duration": 1}))
    assert reply["licence"] == "Apache-2.0"


def test_the_image_has_what_the_container_imports(build: Build) -> None:
    """The files of the image lie where the app's module looks for them."""
    module = build()
    assert module.ROOT == ROOT
    for name in ("infra/docker/worker-requirements.txt", "infra/docker/torch-requirements.txt"):
        assert (ROOT / name).is_file()


def _hash(reply: dict[str, Any]) -> str:
    return hashlib.sha256(base64.b64decode(reply["clips"][0]["audio"])).hexdigest()


def _drop_times(reply: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in reply.items() if k not in ("timings", "real_time_factor")}
