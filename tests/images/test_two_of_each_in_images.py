"""Two APIs and two workers in containers of their own, which share the database and the bucket.

Callers alternate between the APIs' published ports. tests/handlers/job_api/test_two_of_each.py has
the same as plain processes.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp

import boto3
import httpx
import pytest
from botocore.config import Config

from infra.compose.as_processes import make_variables
from infra.compose.compose_file import CPU_FILE, FILE
from infra.images.build import Image
from infra.images.composition import Composition
from musicgen.settings.job_api import ApiSettings
from tests.images.caller import POLL_SECONDS, say
from tests.images.conftest import NAMES
from tests.support import two_of_each
from tests.support.api_caller import ApiCaller
from tests.support.job_server import free_port
from tests.support.two_of_each import Site, wait_for

TWINS_FILE = Path(__file__).with_name("compose.twins.yaml")
APIS, WORKERS = ("api", "api-2"), ("worker", "worker-2")
VOLUMES = ("api-data", "api-2-data", "worker-data", "worker-2-data")
LOOK = "import os; print(*(os.readlink(f'/proc/self/ns/{kind}') for kind in ('pid', 'mnt', 'net')))"
KEYS = ("python", "-m", "handlers.cli", "keys")


@pytest.fixture(scope="module")
def variables() -> dict[str, str]:
    ports = {name: str(free_port()) for name in ("API_PORT", "API_2_PORT", "BUCKET_PORT")}
    return {**make_variables(), **NAMES, **ports, "MUSICGEN_MODEL": "", "MUSICGEN_API_AUTH": "on"}


@pytest.fixture(scope="module")
def twins(images: Mapping[str, Image], variables: dict[str, str]) -> Iterator[Composition]:
    folder = Path(mkdtemp(prefix="musicgen-twins-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        start = time.monotonic()
        with Composition(images, variables, folder, (FILE, CPU_FILE, TWINS_FILE)) as running:
            say(f"two of each healthy after {time.monotonic() - start:.1f} s")
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def site(twins: Composition, variables: dict[str, str]) -> Iterator[Site]:
    password = variables["POSTGRES_PASSWORD"]
    headers = {"Authorization": f"Bearer {_create_key(twins, 'api')}"}
    with ExitStack() as stack:
        apis = []
        for name in APIS:
            url = f"http://127.0.0.1:{twins.ports[name]}"
            http = stack.enter_context(httpx.Client(base_url=url, headers=headers, timeout=60))
            apis.append(ApiCaller(http, POLL_SECONDS))
        yield Site(
            apis,
            [twins.data_folder(volume) for volume in VOLUMES],
            f"postgresql://musicgen:{password}@{twins.addresses['database']}:5432/musicgen",
            "music",
            boto3.client(
                "s3",
                endpoint_url=f"http://127.0.0.1:{twins.ports['bucket']}",
                aws_access_key_id=variables["BUCKET_KEY_ID"],
                aws_secret_access_key=variables["BUCKET_SECRET"],
                region_name="us-east-1",
                config=Config(s3={"addressing_style": "path"}),
            ),
            lambda: _clean(twins),
        )


def _create_key(twins: Composition, api: str) -> str:
    done = twins.containers[api].execute(*KEYS, "create", "twins")
    found = re.search(r"^key: (\S+)$", done.stdout, re.MULTILINE)
    assert found is not None, done.stdout + done.stderr
    return found[1]


def _clean(twins: Composition) -> None:
    """Restart the second API, because a server deletes what has expired when it starts."""
    twins.restart("api-2")
    twins.wait_until_healthy("api-2")


def test_the_four_share_no_namespace_and_no_folder(twins: Composition) -> None:
    seen: list[str] = []
    folders: list[str] = []
    for name in (*APIS, *WORKERS):
        done = twins.containers[name].execute("python", "-c", LOOK)
        assert done.returncode == 0, done.stderr
        seen += done.stdout.split()
        # Besides volumes there are the hosts file and an empty resolv.conf, both read-only.
        mounts = twins.containers[name].mounts
        folders += [m["source"] for m in mounts if m["type"] == "bind" and "ro" not in m["options"]]
    assert len(seen) == 12 and len(set(seen)) == 12
    assert sorted(folders) == sorted(str(twins.data_folder(volume)) for volume in VOLUMES)


def test_an_upload_at_one_api_is_continued_through_the_other(site: Site, tmp_path: Path) -> None:
    two_of_each.continue_uploads(site, tmp_path)


def test_both_apis_carry_the_sound_of_a_worker_elsewhere(site: Site) -> None:
    two_of_each.listen_at_both(site)


def test_both_apis_have_every_variation(site: Site) -> None:
    two_of_each.fetch_variations_at_both(site)


def test_a_call_at_both_apis_is_one_job(site: Site) -> None:
    two_of_each.submit_once_at_both(site)


def test_the_other_api_cancels_a_running_job(site: Site) -> None:
    two_of_each.cancel_at_the_other(site)


def test_the_other_api_deletes_what_has_expired(site: Site) -> None:
    two_of_each.expire_at_the_other(site)


def test_a_key_of_one_api_is_revoked_at_the_other(twins: Composition, site: Site) -> None:
    key = _create_key(twins, "api-2")
    headers = {"Authorization": f"Bearer {key}"}
    for api in site.apis:
        assert api.http.get("/v1/jobs", headers=headers).status_code == 200
    prefix = key.split("_")[1]
    assert prefix in twins.containers["api"].execute(*KEYS, "list").stdout
    done = twins.containers["api"].execute(*KEYS, "revoke", prefix)
    assert done.returncode == 0, done.stdout + done.stderr

    def list_statuses(headers: dict[str, str] | None = None) -> list[int]:
        return [api.http.get("/v1/jobs", headers=headers).status_code for api in site.apis]

    wait_for(lambda: list_statuses(headers) == [401, 401], 5)
    assert list_statuses() == [200, 200], "the other key stays valid"


def test_the_other_worker_completes_the_job_of_a_lost_one(twins: Composition, site: Site) -> None:
    """The lost one stays away, so that nobody of its machine can find its job."""
    stopped = []

    def lose(maker: str) -> None:
        [name] = [n for n in WORKERS if maker.rsplit("-", 2)[0] == twins.containers[n].id]
        stopped.append(name)
        twins.lose(name)

    try:
        two_of_each.lose_a_worker(site, lose, ApiSettings.worker_timeout + 15)
    finally:
        for name in stopped:
            twins.restart(name)
    twins.wait_until_healthy()
