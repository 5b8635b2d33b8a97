"""Servers on an allowed and on a forbidden address."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.callers_server import (
    FORBIDDEN_HOST,
    Server,
    serve,
)


@pytest.fixture
def allowed() -> Iterator[Server]:
    with serve("127.0.0.1") as server:
        yield server


@pytest.fixture
def forbidden() -> Iterator[Server]:
    with serve(FORBIDDEN_HOST) as server:
        yield server


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """A file to be: whatever happens, nothing else is left beside it."""
    yield tmp_path / "clip"
    assert {path.name for path in tmp_path.iterdir()} <= {"clip"}
