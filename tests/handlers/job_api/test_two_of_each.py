"""Two API processes and two workers that share the database and the bucket, and no folder.

tests/images/test_two_of_each_in_images.py has the same in containers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests.support import two_of_each
from tests.support.bucket_settings import bucket_settings
from tests.support.job_server import environment, job_server, start, stop, wait_until_ready
from tests.support.retention import delete_abandoned, delete_expired
from tests.support.seaweedfs import BUCKET, SeaweedFS, seaweedfs
from tests.support.two_of_each import Site


@pytest.fixture(scope="module")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    with seaweedfs(tmp_path_factory.mktemp("weed")) as bucket:
        yield bucket


@pytest.fixture(scope="module")
def site(
    postgres: str, weed: SeaweedFS, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE shared")
    database = postgres.replace("/postgres?", "/shared?")
    root = tmp_path_factory.mktemp("site")
    folders = [root / name for name in ("api-1", "api-2", "worker-1", "worker-2")]
    with ExitStack() as stack:
        settings = bucket_settings(weed, DATABASE_URL=database, MUSICGEN_WORKER_TIMEOUT=6)
        apis = [
            stack.enter_context(job_server(folder, "api", **settings)) for folder in folders[:2]
        ]
        for folder in folders[2:]:
            folder.mkdir()
            env = environment(folder, **settings)
            worker = start("worker", env, folder.with_name(f"{folder.name}.log"))
            stack.callback(stop, worker)
        wait_until_ready(apis[0].http, apis[0].process, root / "worker-1.log", 2)
        yield Site(
            apis,
            folders,
            database,
            BUCKET,
            weed.client(),
            lambda: delete_expired(database, folders[1], weed),
        )


def test_an_upload_is_continued_by_any_worker(site: Site, tmp_path: Path) -> None:
    """An upload was a file of one machine, and the worker of another one failed the job."""
    two_of_each.continue_uploads(site, tmp_path)


def test_sound_is_heard_through_either_api_while_it_is_made(site: Site) -> None:
    """Live audio was a file on the worker's machine. Two callers of two APIs hear the same."""
    two_of_each.listen_at_both(site)


def test_variations_are_fetched_through_either_api(site: Site) -> None:
    two_of_each.fetch_variations_at_both(site)


def test_a_call_sent_to_both_apis_is_one_job(site: Site) -> None:
    two_of_each.submit_once_at_both(site)


def test_a_cancelled_job_ends_on_the_other_machine(site: Site) -> None:
    two_of_each.cancel_at_the_other(site)


def test_what_is_past_its_time_leaves_the_bucket(site: Site) -> None:
    """Clips in the bucket were never deleted, and uploads only on the machine that took them."""
    two_of_each.expire_at_the_other(site)


def test_a_killed_worker_leaves_no_live_sound(site: Site, weed: SeaweedFS, tmp_path: Path) -> None:
    first, second = site.apis
    job_id = first.submit(duration=60)
    first.until(job_id, lambda now: now["stream_url"], 60)
    run = site.keys(f"live/{job_id}-")
    assert run
    delete_abandoned(site.database, tmp_path, weed, after_seconds=0)
    assert site.keys(f"live/{job_id}-"), "a running job keeps its live audio"
    second.http.delete(f"/v1/jobs/{job_id}")
    time.sleep(1.5)
    delete_abandoned(site.database, tmp_path, weed, after_seconds=0)
    assert site.keys(f"live/{job_id}-") == []
