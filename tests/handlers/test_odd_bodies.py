"""Bodies of another shape than a call's are refused by name, on Hugging Face and RunPod."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from handlers.hf_endpoint import EndpointCalls, EndpointError
from handlers.runpod_job import RunPodJobs
from musicgen.settings import Settings
from tests.support.fake_predictor import FakePredictor

ODD: list[Any] = [5, 2.5, None, True, "piano", b"RIFF", [], [1], ["inputs"], [{"inputs": "x"}]]


def _nest(depth: int) -> list[Any]:
    nested: list[Any] = []
    for _ in range(depth):
        nested = [nested]
    return nested


@pytest.mark.parametrize("data", ODD, ids=repr)
def test_a_body_that_is_no_object_is_named(tmp_path: Path, data: Any) -> None:
    """A number, a list or null ended in a traceback and internal_error."""
    endpoint = EndpointCalls(FakePredictor(tmp_path), Settings())
    with pytest.raises(EndpointError, match=r"^invalid_request: body must be an object such as "):
        endpoint.handle(data)


def test_a_body_nested_too_deeply_is_named(tmp_path: Path) -> None:
    """Python cannot print it."""
    endpoint, nested = EndpointCalls(FakePredictor(tmp_path), Settings()), _nest(100_000)
    for data in ({"inputs": [nested]}, {"inputs": "x", "parameters": nested}, {"inputs": nested}):
        with pytest.raises(EndpointError, match=r"^invalid_request: .* cannot be shown"):
            endpoint.handle(data)


@pytest.mark.parametrize("index", range(len(ODD) + 1))
def test_a_job_whose_input_is_no_object_is_named(tmp_path: Path, index: int) -> None:
    value = [*ODD, _nest(100_000)][index]
    jobs = RunPodJobs(FakePredictor(tmp_path), Settings())
    reply = asyncio.run(jobs.handle({"id": "one", "input": value}))
    assert reply["error"].startswith("invalid_request: input must be an object")
