"""Fixtures for all test folders."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from tests.support.checkpoints import ALL_SPECS, build
from tests.support.oracle import Oracle, load, load_tokenizer

# Tests start hundreds of processes of this code. Without its bytecode each of them compiles it
# again, and pytest rewrites every assertion again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Read when huggingface_hub is imported, which no test does before this file. Toy checkpoints are
# local: a test that asks a hub for anything is wrong.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
# No test may fail because the machine is busy.
settings.register_profile(
    "unhurried", deadline=None, max_examples=40, suppress_health_check=list(HealthCheck)
)
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`checkpoints(name)`: the folder of a toy checkpoint, built once per session when asked for.

    Names are those of `FAMILIES` and `ODD_SHAPES`. Tests share the folders and never change them.
    """
    root = tmp_path_factory.mktemp("checkpoints")

    @functools.cache
    def checkpoint(name: str) -> Path:
        build(ALL_SPECS[name], root / name)
        return root / name

    return checkpoint


@pytest.fixture(scope="session")
def oracles(checkpoints: Callable[[str], Path]) -> Callable[[str], Oracle]:
    """`oracles(name)`: transformers' model and tokenizer of a toy checkpoint, loaded once."""

    @functools.cache
    def oracle(name: str) -> Oracle:
        folder = checkpoints(name)
        return Oracle(load(folder), load_tokenizer(folder))

    return oracle


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """A toy step is far shorter than the time threads take to wait for each other. Set for each
    test, because loading a predictor sets it too."""
    torch.set_num_threads(1)
