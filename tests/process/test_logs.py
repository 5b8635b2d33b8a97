"""Logs as JSON: what collects them finds the job and its trace in every line."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handlers.async_generation import AsyncGeneration
from musicgen.process.logs import HTTP_LOGGERS, JsonLines, about, hide_secrets
from tests.support import ROOT
from tests.support.broken_answers import Times, redirect
from tests.support.hub_mirror import hub_mirror

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    text, logger = io.StringIO(), logging.getLogger("musicgen.test")
    handler = logging.StreamHandler(text)
    handler.setFormatter(JsonLines())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield text
    logger.removeHandler(handler)


def _told(text: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.getvalue().splitlines()]


def test_a_line_is_one_object_whatever_it_says(lines: io.StringIO) -> None:
    logger = logging.getLogger("musicgen.test")
    try:
        raise ValueError('two\nlines and "quotes"')
    except ValueError:
        logger.exception("it %s", "failed\nhere", extra={"clip": object()})
    (line,) = _told(lines)
    assert (line["level"], line["logger"]) == ("ERROR", "musicgen.test")
    assert line["message"] == "it failed\nhere" and "ValueError" in line["error"]
    assert line["time"].endswith("Z") and "clip" in line and "job_id" not in line


def test_lines_name_the_job_they_are_about(lines: io.StringIO) -> None:
    """Side by side, and in the thread that decodes."""
    logger = logging.getLogger("musicgen.test")

    class Started:
        def __init__(self, _: object) -> None: ...

        def __enter__(self) -> Any:
            logger.info("decoding")
            raise RuntimeError

        def __exit__(self, *_: object) -> None: ...

    async def job(name: str) -> None:
        with about(name, TRACE):
            logger.info("begun")
            await asyncio.sleep(0.01)
            async with AsyncGeneration(Started) as generation:
                with pytest.raises(RuntimeError):
                    await generation.result()

    async def both() -> None:
        await asyncio.gather(job("one"), job("two"))
        logger.info("after")

    asyncio.run(both())
    *about_jobs, after = _told(lines)
    assert sorted(line["job_id"] for line in about_jobs) == ["one", "one", "two", "two"]
    assert {line["trace_id"] for line in about_jobs} == {"0af7651916cd43dd8448eb211c80319c"}
    assert "job_id" not in after and "trace_id" not in after


@pytest.mark.parametrize("header", [None, "", "nonsense", "00-x"])
def test_a_header_that_is_none_is_no_trace(lines: io.StringIO, header: str | None) -> None:
    with about("one", header):
        logging.getLogger("musicgen.test").info("begun")
    (line,) = _told(lines)
    assert "trace_id" not in line


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ('GET http://a/b?X-Amz-Signature=hush "HTTP/1.1 200 OK"', "hush"),
        (
            "Retrying after connection broken: /bucket/key?X-Amz-Credential=me&X-Signature=hush",
            "hush",
        ),
        ("for url 'https://a/b?token=hush'\nFor more information", "hush"),
        ("headers=[(b'authorization', b'Bearer hush')]", "hush"),
        ("{'Authorization': 'Bearer hush', 'x': 1}", "hush"),
        ("'X-Amz-Security-Token': b'hush/+='", "hush"),
    ],
)
def test_secrets_are_hidden(text: str, hidden: str) -> None:
    assert hidden in text and hidden not in hide_secrets(text)


@pytest.mark.parametrize("text", ["Is it? yes=no", "what is 2=2", "100 % | http://a/b#c"])
def test_other_text_stays(text: str) -> None:
    assert hide_secrets(text) == text


WARNING = """
from musicgen.process.logs import start_logging
start_logging("INFO")
import urllib3
try:
    urllib3.PoolManager().request("GET", "http://127.0.0.1:9/a?X-Amz-Signature=hush", retries=1)
except urllib3.exceptions.MaxRetryError:
    pass
"""


def test_a_warning_of_a_library_has_no_signed_address() -> None:
    """urllib3, below S3's client, warns of each retry with the whole address."""
    ended = subprocess.run(
        [sys.executable, "-c", WARNING], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "Retrying" in ended.stderr and "/a?" in ended.stderr
    assert "hush" not in ended.stderr


HARMLESS = {
    "asyncio",
    "bcdocs",
    "concurrent",
    "filelock",
    "musicgen",
    "tqdm",
    "uvicorn",
    "watchfiles",
}
"""Loggers that write no address and no header of a request to another server."""
DOWNLOAD = """
import logging, sys
from musicgen.process.logs import start_logging
start_logging(sys.argv[1])
from musicgen.checkpoints.locate import locate
from musicgen.errors import CheckpointNotFound
try:
    locate("me/tune")
except CheckpointNotFound as error:
    logging.getLogger("musicgen").warning("%s", error)
import boto3, httpx, httpx_secure, uvicorn
print(*logging.root.manager.loggerDict)
"""


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_a_download_logs_no_signed_address(tmp_path: Path, level: str) -> None:
    """The hub moved to httpx2, whose logger was not known here."""
    signed = "/me/tune/resolve/main/signed.safetensors?X-Amz-Signature=hush"
    with hub_mirror({"me/tune": {"model.safetensors": bytes(1000)}}) as mirror:
        mirror.fault = Times(redirect(mirror.url + signed))
        here = {"HF_ENDPOINT": mirror.url, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "0"}
        ended = subprocess.run(
            [sys.executable, "-c", DOWNLOAD, level],
            cwd=ROOT,
            env={**os.environ, **here, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "hf_whisper"},
            capture_output=True,
            text=True,
        )
    assert any("signed.safetensors" in path for _, path in mirror.asked), ended.stderr
    assert "could not be downloaded" in ended.stderr
    assert "hush" not in ended.stderr and "whisper" not in ended.stderr
    assert "HTTP Request" not in ended.stderr
    loggers = {name.partition(".")[0] for name in ended.stdout.split()}
    assert loggers <= {*HTTP_LOGGERS, *HARMLESS}, "decide about each new logger"
    assert "httpx2" in loggers or "httpx" in loggers
