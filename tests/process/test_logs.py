"""Logs as JSON: what collects them finds the job and its trace in every line."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from handlers.async_generation import AsyncGeneration
from musicgen.process.logs import JsonLines, about

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
