"""The platforms' own software on loopback, started once for this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from musicgen.remote import http_api as base
from musicgen.remote import replicate, runpod_endpoint
from musicgen.remote.guarded import GuardedDeployment
from tests.support import ROOT
from tests.support.cog_server import Server, cog_server
from tests.support.elsewhere import Elsewhere
from tests.support.hf_emulator import emulator_folder, hf_endpoint
from tests.support.json_server import TOKEN
from tests.support.platform_apis import ReplicateApi, RunPodApi, served
from tests.support.runpod_queue import Queue, runpod_queue, runpod_worker


@pytest.fixture(scope="package")
def cog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with cog_server(tmp_path_factory.mktemp("remote-cog")) as running:
        yield running


@pytest.fixture(scope="package")
def queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Queue]:
    """RunPod's queue with one worker on it."""
    with runpod_queue() as known, runpod_worker(known, tmp_path_factory.mktemp("remote-worker")):
        yield known


@pytest.fixture(scope="package")
def runpod_api(queue: Queue) -> RunPodApi:
    return RunPodApi(queue)


@pytest.fixture(scope="package")
def replicate_api(cog: Server) -> ReplicateApi:
    return ReplicateApi(cog)


@pytest.fixture(scope="package")
def hf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    emulator = emulator_folder()
    if emulator is None:
        pytest.skip("make .venv/hf-emulator/installed")
    log = tmp_path_factory.mktemp("remote-hf") / "log"
    with hf_endpoint(emulator, ROOT, log) as endpoint:
        yield str(endpoint.client.base_url)


@pytest.fixture(scope="package")
def addresses(replicate_api: ReplicateApi, runpod_api: RunPodApi) -> Iterator[tuple[str, str]]:
    """Where the APIs of Replicate and RunPod are."""
    with served(replicate_api) as first, served(runpod_api) as second:
        yield first, second


@pytest.fixture
def platforms(monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, str]) -> None:
    """The public addresses of the platforms, here; a look every so often, oftener."""
    for variable in ("REPLICATE_API_TOKEN", "RUNPOD_API_KEY", "HF_TOKEN"):
        monkeypatch.setenv(variable, TOKEN)
    monkeypatch.setattr(base, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(replicate, "BASE_URL", addresses[0])
    monkeypatch.setattr(runpod_endpoint, "BASE_URL", addresses[1])


@pytest.fixture
def elsewhere() -> Elsewhere:
    return Elsewhere()


@pytest.fixture(params=["replicate", "runpod", "hf", "cog container"])
def hybrid(request: pytest.FixtureRequest, elsewhere: Elsewhere) -> GuardedDeployment:
    if request.param == "replicate":
        return elsewhere.hybrid("replicate", "me/music")
    if request.param == "runpod":
        return elsewhere.hybrid("runpod", "ep1")
    if request.param == "hf":
        return elsewhere.hybrid("hf", request.getfixturevalue("hf"))
    cog: Server = request.getfixturevalue("cog")
    return elsewhere.hybrid(str(cog.client.base_url))
