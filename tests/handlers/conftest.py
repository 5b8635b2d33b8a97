"""Servers that several files of this folder ask: each start loads torch and a model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.cog_server import Server, cog_server


@pytest.fixture(scope="session")
def plain_cog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """predict.py:Runner with one slot and no option."""
    with cog_server(tmp_path_factory.mktemp("plain-cog")) as running:
        yield running
