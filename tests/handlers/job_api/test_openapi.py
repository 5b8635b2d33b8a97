"""The OpenAPI document is what the server does: nothing undocumented, no error of ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from handlers.job_api.store.api_keys import SCOPES
from tests.support import ROOT
from tests.support.job_server import environment, job_server

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance,unsupported_method"
)


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


@pytest.mark.parametrize("auth", ["off", "on"])
def test_no_call_gets_an_answer_that_is_not_documented(
    tmp_path: Path, data: Path, auth: str
) -> None:
    """Without a worker: what is made up as a request need not be made as music. With keys most
    calls carry one that may do everything, and those that are made up to be refused do not."""
    limits = {"MUSICGEN_RATE_LIMIT": "100000/minute", "MUSICGEN_QUEUE_MAX": 300}
    with job_server(data, "api", MUSICGEN_API_AUTH=auth, **limits) as server:
        key = ["--header", f"Authorization: Bearer {_key(data)}"] if auth == "on" else []
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"),
                *("--checks", CHECKS, "--max-examples", "15", "--request-timeout", "20"),
                *("--phases", "examples,coverage,fuzzing", "--no-color"),
                *("--exclude-path-regex", "/events$"),
                *key,
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
