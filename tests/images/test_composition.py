"""The composition of compose.yaml in containers: a request to a clip, crashes, and restarts.

Every clip comes through the API's published port, to a caller outside the containers' network.
"""

from __future__ import annotations

import time
from collections import Counter
from io import BytesIO
from typing import Any

import pytest
import soundfile

from infra.images.composition import Composition
from musicgen.model.native.step_file import LEVEL_NAMES
from musicgen.settings.job_api import ApiSettings
from tests.images.caller import POLL_SECONDS, Caller, find_native_step, say

LONG = 60.0
"""Seconds of music, decoded for long enough to be interrupted."""
CHECK_SECONDS = 15.0
"""A worker's start and the rounds of the search for lost workers, beyond their timeout."""


def test_a_request_becomes_a_clip_outside(caller: Caller) -> None:
    start = time.monotonic()
    status = caller.wait_for(caller.submit(duration=2.0), "completed")
    sound = caller.check_clip(status)
    say(f"2 s of music from request to clip: {time.monotonic() - start:.1f} s")
    assert sound.startswith(b"RIFF")
    samples, rate = soundfile.read(BytesIO(sound))
    assert len(samples) == 2 * rate


def test_a_clip_has_ranges_and_other_formats(caller: Caller) -> None:
    """Guards against a redirect to the bucket, whose name only containers know."""
    job_id = caller.submit()
    whole = caller.check_clip(caller.wait_for(job_id, "completed"))
    part = caller.fetch(f"/audio/{job_id}.wav", Range="bytes=100-199")
    assert part.status_code == 206 and part.content == whole[100:200]
    for extension, magic in (("flac", b"fLaC"), ("mp3", b""), ("ogg", b"OggS")):
        converted = caller.fetch(f"/audio/{job_id}.{extension}").content
        assert converted.startswith(magic)
        samples, rate = soundfile.read(BytesIO(converted))
        assert abs(len(samples) / rate - 1.0) < 0.1


def test_an_uploaded_clip_is_continued(caller: Caller) -> None:
    sound = caller.check_clip(caller.wait_for(caller.submit(), "completed"))
    sent = caller.http.post("/v1/uploads", content=sound, headers={"Content-Type": "audio/wav"})
    assert sent.status_code in (200, 201), sent.text
    upload = sent.json()["input_audio"]
    job = caller.submit(input_audio=upload, continuation=True, duration=2.0)
    samples, rate = soundfile.read(BytesIO(caller.check_clip(caller.wait_for(job, "completed"))))
    assert len(samples) == 2 * rate


def test_a_killed_worker_comes_back_under_its_name_and_its_job_is_done_once(
    up: Composition, caller: Caller
) -> None:
    """A container's restart keeps host name and process number, so only the worker itself can tell
    its lives apart."""
    before = set(caller.list_jobs())
    job_id = caller.submit(duration=LONG)
    running = caller.wait_for(job_id, "running")
    worker = up.containers["worker"]
    starts, host = worker.starts, _host_name(up)
    worker.kill()
    killed = time.monotonic()
    up.wait_until_healthy("worker")
    assert worker.starts == starts + 1 and _host_name(up) == host
    # Done once: the first life's attempt ended with it, and the second is the only other one.
    promised = ApiSettings.worker_timeout + CHECK_SECONDS
    while caller.status(job_id).get("attempt") == running["attempt"]:
        assert time.monotonic() < killed + promised, caller.status(job_id)
        time.sleep(POLL_SECONDS)
    found = time.monotonic() - killed
    status = caller.wait_for(job_id, "completed")
    say(
        f"worker killed: job found after {found:.1f} s (promised {promised:.0f}), completed after "
        f"{time.monotonic() - killed:.1f} s, attempt {status['attempt']}"
    )
    assert status["attempt"] == running["attempt"] + 1
    caller.check_clip(status)
    assert set(caller.list_jobs()) == before | {job_id}


@pytest.mark.parametrize("names", [("api",), ("database",), ("api", "database", "worker")])
def test_services_are_killed_and_nothing_is_lost(
    up: Composition, caller: Caller, names: tuple[str, ...]
) -> None:
    before = caller.list_jobs()
    ids = [caller.submit(duration=8.0, seed=seed) for seed in range(4)]
    caller.wait_for(ids[0], "running", "completed")
    starts = {name: up.containers[name].starts for name in names}
    for name in names:
        up.containers[name].kill()
    killed = time.monotonic()
    up.wait_until_healthy()
    healthy = time.monotonic() - killed
    for status in caller.wait_until_completed(ids):
        caller.check_clip(status)
    say(f"{'+'.join(names)} killed: healthy after {healthy:.1f} s, 4 of 4 jobs completed")
    assert Counter(caller.list_jobs()) == Counter([*before, *ids])
    assert {name: up.containers[name].starts for name in names} == {
        name: count + 1 for name, count in starts.items()
    }


def test_all_services_are_restarted_one_by_one_and_nothing_is_lost(
    up: Composition, caller: Caller
) -> None:
    before = caller.list_jobs()
    ids = [caller.submit(duration=8.0, seed=seed) for seed in range(2)]
    start = time.monotonic()
    for name in ("database", "bucket", "api", "worker"):
        up.restart(name)
        up.wait_until_healthy()
        ids.append(caller.submit(duration=2.0, seed=len(ids)))
    took = time.monotonic() - start
    for status in caller.wait_until_completed(ids):
        caller.check_clip(status)
    say(f"rolling restart of all services: {took:.1f} s, {len(ids)} of {len(ids)} jobs completed")
    assert Counter(caller.list_jobs()) == Counter([*before, *ids])


def test_a_new_database_container_has_the_jobs_of_the_old_one(
    up: Composition, caller: Caller
) -> None:
    """The data must lie in the named volume: a new container has new anonymous volumes."""
    job_id = caller.submit()
    caller.wait_for(job_id, "completed")
    up.recreate("database")
    up.wait_until_healthy()
    caller.check_clip(caller.wait_for(job_id, "completed"))


def test_a_backup_is_made_and_restored_by_the_image_of_the_api(
    up: Composition, caller: Caller
) -> None:
    """The images had no pg_dump, so the documented command failed in them."""
    kept = caller.submit()
    caller.wait_for(kept, "completed")
    api = up.containers["api"]
    command = ("python", "-m", "handlers.cli")
    done = api.execute(*command, "backup", "/data/saved.tar")
    assert done.returncode == 0, done.stdout + done.stderr
    late = caller.submit()
    caller.wait_for(late, "completed")
    # The API is a user of the database too, so another container restores.
    saved = up.data_folder("api-data") / "saved.tar"
    for name in ("api", "worker"):
        up.stop(name)
    try:
        with up.run("api", *command, "restore", "/data/saved.tar", "--force") as restored:
            restored.wait(120)
            assert restored.process is not None
            assert restored.process.returncode == 0, restored.log.read_text()
    finally:
        for name in ("api", "worker"):
            up.restart(name)
    up.wait_until_healthy()
    saved.unlink()
    caller.check_clip(caller.wait_for(kept, "completed"))
    assert caller.http.get(f"/status/{late}").status_code == 404


def test_no_service_wrote_an_error_nobody_expects(up: Composition) -> None:
    """Last in this file. A crash of another service is logged; a failure of the code is not one."""
    for name in ("api", "worker"):
        log = up.containers[name].log.read_text(errors="replace")
        assert "Traceback" not in log or "OperationalError" in log, log[-3000:]
    assert find_native_step(up.containers["worker"].log.read_text()) in LEVEL_NAMES.values()


def _host_name(up: Composition) -> Any:
    command = ("python", "-c", "import socket; print(socket.gethostname())")
    return up.containers["worker"].execute(*command).stdout
