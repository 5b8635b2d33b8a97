"""Parsing that tests of infra/ repeat, made quick: the same schemas and the same YAML."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
import yaml


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
