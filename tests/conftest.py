"""Fixtures for all test folders."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import certifi
import pytest
import torch
from filelock import FileLock
from hypothesis import HealthCheck, settings

from tests.support import ROOT
from tests.support.checkpoints import ALL_SPECS, build
from tests.support.oracle import Oracle, load, load_tokenizer

# Tests start hundreds of processes of this code. Without its bytecode each of them compiles it
# again, and pytest rewrites every assertion again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Read when huggingface_hub is imported, which no test does before this file. Toy checkpoints are
# local: a test that asks a hub for anything is wrong.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
# Threads of the processes under test sleep while they wait: others need the processor.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# No test may fail because the machine is busy.
settings.register_profile(
    "unhurried", deadline=None, max_examples=40, suppress_health_check=list(HealthCheck)
)
settings.load_profile("unhurried")


SHARED = {
    "remote": ("test_call", "test_guarded", "test_guarded_failures", "test_platforms_under_load"),
    "handlers/job_api": ("test_api", "test_client", "test_readme_calls"),
    "handlers": ("test_cog_inputs", "test_cog_server", "test_cog_streaming"),
}
"""Files that ask the same servers, which then start in one process of pytest-xdist alone."""

LONGEST = (
    *("handlers/job_api/test_workers", "handlers/test_runpod_worker"),
    *("engine/test_tokens_equal_transformers", "handlers/job_api/test_policies"),
    *("handlers/job_api/test_openapi", "remote/test_call", "storage/test_seaweedfs"),
    *("infra/test_deploy_kubernetes", "audio/test_postprocess", "infra/test_coldstart"),
    *("handlers/job_api/test_webhooks", "infra/test_loadtest", "handlers/job_api/test_traces"),
)
"""Files that begin first: begun last, one of them would keep a single process busy at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {ROOT / f"tests/{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path, len(LONGEST)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give whole files to the processes, as `--dist loadfile` does, and shared servers to one."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadScopeScheduling

    groups = {
        f"tests/{folder}/{name}.py": folder for folder, names in SHARED.items() for name in names
    }

    class ByServers(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file: str = nodeid.partition("::")[0]
            return groups.get(file, file)

    # Those with the fewest tests last would be the longest of all.
    config.option.loadscopereorder = False
    return ByServers(config, log)


@pytest.fixture(scope="session", autouse=True)
def _quick_clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Make clients of HTTP and S3 without the files that each of them would read again.

    Those are 150 root certificates, of which the tests trust none, and the megabytes of JSON that
    describe the services of AWS.
    """
    with pytest.MonkeyPatch.context() as patch:
        certificate = tmp_path_factory.mktemp("certificates") / "one.pem"
        end = "-----END CERTIFICATE-----\n"
        certificate.write_text(certifi.contents().partition(end)[0] + end)
        patch.setenv("SSL_CERT_FILE", str(certificate))
        patch.setenv("AWS_CA_BUNDLE", str(certificate))
        if find_spec("botocore") is not None:
            loader = importlib.import_module("botocore.loaders").JSONFileLoader
            read = functools.cache(functools.partial(loader.load_file, loader()))
            patch.setattr(loader, "load_file", lambda _, path: read(path))
        yield


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`checkpoints(name)`: the folder of a toy checkpoint, built when it is asked for.

    Names are those of `FAMILIES` and `ODD_SHAPES`. Tests share the folders and never change them.
    The processes of pytest-xdist share them too: whoever asks first builds.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    root = root / "toy-checkpoints"

    @functools.cache
    def checkpoint(name: str) -> Path:
        folder = root / name
        root.mkdir(exist_ok=True)
        with FileLock(root / f"{name}.lock"):
            if not folder.exists():
                part = root / f"{name}.part"
                build(ALL_SPECS[name], part)
                part.rename(folder)
        return folder

    return checkpoint


@pytest.fixture(scope="session")
def oracles(checkpoints: Callable[[str], Path]) -> Callable[[str], Oracle]:
    """`oracles(name)`: transformers' model and tokenizer of a toy checkpoint, loaded once."""

    @functools.cache
    def oracle(name: str) -> Oracle:
        folder = checkpoints(name)
        return Oracle(load(folder), load_tokenizer(folder))

    return oracle


@pytest.fixture
def crashing_program(tmp_path: Path) -> Path:
    """A program that ends as by a fault of a library, in place of `sys.executable`."""
    program = tmp_path / "crash"
    program.write_text("#!/bin/sh\nkill -SEGV $$\n")
    program.chmod(0o755)
    return program


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """A toy step is far shorter than the time threads take to wait for each other. Set for each
    test, because loading a predictor sets it too."""
    torch.set_num_threads(1)
