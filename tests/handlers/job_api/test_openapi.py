"""The OpenAPI document is what the server does: nothing undocumented, no error of ours."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from handlers.job_api.store.api_keys import SCOPES
from tests.support import ROOT
from tests.support.job_server import JobServer, environment, job_server

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance,unsupported_method,"
    "no_undocumented_header"
)
WAITING = "/audio/(speech|generate|music/generations)$|/sound-generation$|/v1/music(/stream)?$"
# A stream of a job that no worker makes has no end; test_documented_replies hears some.
OTHERS = ("--exclude-path-regex", f"/events$|{WAITING}")
LIMITS = {
    "MUSICGEN_RATE_LIMIT": "100000/minute",
    "MUSICGEN_QUEUE_MAX": 300,
    # Each waiting call ends by its deadline, and most meet the limit of jobs before.
    "MUSICGEN_WAIT_SECONDS": 1,
    "MUSICGEN_JOBS_PER_KEY": 20,
}


def _key(data: Path) -> str:
    scopes = [part for scope in SCOPES for part in ("--scope", scope)]
    told = subprocess.run(
        [sys.executable, "-m", "handlers.cli", "keys", "create", "fuzzer", *scopes],
        env=environment(data),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return told.split("key: ")[1].split()[0]


def _fuzz(server: JobServer, folder: Path, examples: int, checks: str, *options: str) -> int:
    """Send made-up calls, and return their number. None may get an undocumented reply."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"),
            *("--checks", checks, "--max-examples", str(examples), "--request-timeout", "20"),
            *("--phases", "examples,coverage,fuzzing", "--no-color", *options),
        ],
        cwd=folder,
        env={
            **os.environ,
            "SCHEMATHESIS_HOOKS": "tests.support.documented",
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    generated = re.search(r"(\d+) generated", done.stdout)
    assert generated is not None, done.stdout
    return int(generated[1])


@pytest.mark.parametrize(
    ("auth", "paths", "checks"),
    [
        ("off", OTHERS, CHECKS),
        ("on", OTHERS, CHECKS),
        # Their deadline is a server's error, and without a worker it is sure to come.
        ("on", ("--include-path-regex", WAITING), CHECKS.removeprefix("not_a_server_error,")),
    ],
)
def test_no_call_gets_an_answer_that_is_not_documented(
    tmp_path: Path, data: Path, auth: str, paths: tuple[str, str], checks: str
) -> None:
    """Without a worker: what is made up as a request need not be made as music. With keys most
    calls carry one that may do everything, and those that are made up to be refused do not."""
    with job_server(data, "api", MUSICGEN_API_AUTH=auth, **LIMITS) as server:
        key = ["--header", f"Authorization: Bearer {_key(data)}"] if auth == "on" else []
        _fuzz(server, tmp_path, 15, checks, *paths, *key)


@pytest.mark.slow
def test_a_thousand_odd_calls_of_the_version(tmp_path: Path, data: Path) -> None:
    with job_server(data, "api", MUSICGEN_API_AUTH="on", **LIMITS) as server:
        key = ("--header", f"Authorization: Bearer {_key(data)}")
        count = _fuzz(server, tmp_path, 150, CHECKS, *OTHERS, "--include-path-regex", "^/v1/", *key)
    assert count >= 1000
