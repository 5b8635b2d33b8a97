"""The images, built once and run as the compose file says."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import httpx
import pytest

from infra.compose.as_processes import make_variables
from infra.compose.compose_file import CPU_FILE, FILE
from infra.images.build import Image, build_all
from infra.images.composition import Composition
from infra.images.places import find_missing, show_time
from infra.images.programs import run_program
from tests.browser.conftest import browser, visit
from tests.images.caller import Caller, say
from tests.support.job_server import free_port

__all__ = ["browser", "visit"]
NAMES = {
    "API_IMAGE": "musicgen-api",
    "WORKER_IMAGE": "musicgen-worker",
    "POSTGRES_IMAGE": "postgres",
    "SEAWEEDFS_IMAGE": "seaweedfs",
    "PROMETHEUS_IMAGE": "prometheus",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.images)


@pytest.fixture(scope="session")
def images() -> Mapping[str, Image]:
    missing = find_missing()
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: `make test-images` says how")
    return build_all()


@pytest.fixture
def program(images: Mapping[str, Image]) -> Callable[..., Any]:
    """`program(image, *command, **environment)` runs a command in a new container."""

    def run(name: str, *command: str, **environment: str) -> Any:
        return run_program(images[name], *command, environment=environment)

    return run


@pytest.fixture(scope="session")
def up(images: Mapping[str, Image]) -> Iterator[Composition]:
    """The composition of compose.yaml, without a GPU, with a bucket."""
    own = {"API_PORT": str(free_port()), "MUSICGEN_MODEL": "", "MUSICGEN_API_AUTH": "on"}
    variables = make_variables() | NAMES | own
    folder = Path(mkdtemp(prefix="musicgen-images-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        start = time.monotonic()
        with Composition(images, variables, folder, (FILE, CPU_FILE)) as running:
            say(f"composition healthy after {time.monotonic() - start:.1f} s")
            yield running
        with show_time("composition stopped"):
            pass
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def key(up: Composition) -> str:
    """A key made by the command of docs/compose.md, in the API's container."""
    command = ("python", "-m", "handlers.cli", "keys", "create", "tests")
    done = up.containers["api"].execute(*command)
    found = re.search(r"^key: (\S+)$", done.stdout, re.MULTILINE)
    assert found is not None, done.stdout + done.stderr
    return found[1]


@pytest.fixture
def caller(up: Composition, key: str) -> Iterator[Caller]:
    """A caller outside the containers' network; before and after, every service is healthy."""
    up.wait_until_healthy()
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=up.api, headers=headers, timeout=60) as http:
        yield Caller(http)
    up.wait_until_healthy()
