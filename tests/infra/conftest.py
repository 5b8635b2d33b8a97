"""Quick parsing of schemas and YAML, and a cluster for the tests of deployments."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from infra.check.tools import find_tool
from infra.deploy import kubernetes, shell
from tests.support.kubectl_program import Cluster
from tests.support.overlay import copy_overlay, start_cluster


@pytest.fixture(scope="session", autouse=True)
def _quick_parsing() -> Iterator[None]:
    """Read each schema of Kubernetes once, and parse YAML with libyaml where PyYAML has it.

    The validator reads a megabyte of definitions again for every object.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml, "SafeLoader", getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        if find_spec("kubernetes_validate") is not None:
            utils = importlib.import_module("kubernetes_validate.utils")
            patch.setattr(utils, "schema_contents", functools.cache(utils.schema_contents))
        yield


@pytest.fixture
def overlay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the overlay `mine`: a copy of production without placeholders."""
    folder = copy_overlay(tmp_path)
    monkeypatch.setattr(kubernetes, "FOLDER", folder.parent)
    return folder


@pytest.fixture
def cluster(overlay: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Return a fake cluster with everything for production."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = start_cluster(tmp_path, overlay, str(find_tool("kubectl")))
    monkeypatch.setattr(shell, "find_tool", lambda name: str(made.path))
    return made
