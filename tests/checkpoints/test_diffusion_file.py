"""Files of multi-band diffusion: audiocraft's own format is read, and everything else refused."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from musicgen.catalog import DIFFUSION_FILE
from musicgen.checkpoints.audiocraft.pickled_settings import load_with_settings, to_plain
from musicgen.checkpoints.diffusion import load_diffusion
from musicgen.errors import (
    CheckpointCorrupt,
    CheckpointError,
    CheckpointMismatch,
    UnsupportedCheckpoint,
)
from tests.support import diffusion


class Trap:
    """Pickled object that writes a file when it is read by plain pickle."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A file written by audiocraft's classes, with settings as omegaconf pickles them."""
    path = tmp_path / DIFFUSION_FILE
    packed = diffusion.DATA / f"{DIFFUSION_FILE}.gz"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    return path


def test_settings_pickled_by_omegaconf_are_read_without_it(published: Path) -> None:
    content = load_with_settings(published, "")
    for index, name in enumerate(("lstm", "transformer", "cross-attention")):
        assert to_plain(published, content[index]["cfg"]) == diffusion.describe_band(name)


def test_a_file_in_the_published_format_is_loaded(published: Path) -> None:
    model = load_diffusion(published, "cpu")
    assert model.sample_rate == 1600
    assert [band.unet.config.transformer for band in model.bands] == [False, True, True]
    assert model.codec_dims == {diffusion.CODEC_DIM}


def test_other_objects_are_refused_unread(tmp_path: Path) -> None:
    """A pickle can run any code: nothing but the settings' own classes may be built."""
    path = tmp_path / DIFFUSION_FILE
    torch.save({"sample_rate": 1, "n_bands": 1, 0: Trap(tmp_path / "trapped")}, path)
    with pytest.raises(CheckpointCorrupt, match="holds more than weights"):
        load_diffusion(path, "cpu")
    assert not (tmp_path / "trapped").exists()


def test_a_truncated_file_is_refused(published: Path) -> None:
    whole = published.read_bytes()
    published.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointCorrupt, match="truncated"):
        load_diffusion(published, "cpu")


@pytest.mark.parametrize("content", [[], {"n_bands": 2}, {"sample_rate": 1600, "n_bands": 10**9}])
def test_a_file_of_other_weights_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / DIFFUSION_FILE)
    with pytest.raises(CheckpointCorrupt, match="no models of diffusion"):
        load_diffusion(tmp_path / DIFFUSION_FILE, "cpu")


def _drop_weight(band: dict[str, Any]) -> None:
    del band["model_state"]["embedding.weight"]


def _reshape_levels(band: dict[str, Any]) -> None:
    band["processor_state"]["sum_x"] = torch.zeros(3)


def _empty_levels(band: dict[str, Any]) -> None:
    band["processor_state"]["counts"] = torch.zeros(1)


def _set(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    section, name = path.split(".")

    def change(band: dict[str, Any]) -> None:
        band["cfg"][section][name] = value

    return change


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (_drop_weight, CheckpointMismatch, "embedding.weight"),
        (_reshape_levels, CheckpointMismatch, "levels"),
        (_empty_levels, CheckpointCorrupt, "not finite"),
        (_set("diffusion_unet.hidden", 10**6), UnsupportedCheckpoint, "too wide"),
        (_set("diffusion_unet.hidden", True), UnsupportedCheckpoint, "whole number"),
        (_set("diffusion_unet.norm_groups", 3), UnsupportedCheckpoint, "divide"),
        (_set("diffusion_unet.depth", 99), UnsupportedCheckpoint, "at most 8"),
        (_set("diffusion_unet.growth", "x"), UnsupportedCheckpoint, "growth"),
        (_set("diffusion_unet.gate", True), UnsupportedCheckpoint, "unknown"),
        (_set("schedule.num_steps", 50), UnsupportedCheckpoint, "must be 1000"),
        (_set("schedule.repartition", "cosine"), UnsupportedCheckpoint, "power"),
        (_set("schedule.beta_t0", -1), UnsupportedCheckpoint, "above 0"),
        (_set("processor.power_std", [1.0]), UnsupportedCheckpoint, "one number"),
    ],
)
def test_damage_is_named(
    change: Callable[[dict[str, Any]], None],
    error: type[CheckpointError],
    text: str,
    tmp_path: Path,
    toy_file: Path,
) -> None:
    path = shutil.copy(toy_file, tmp_path / DIFFUSION_FILE)
    content = torch.load(path, weights_only=True)
    change(content[0])
    torch.save(content, path)
    with pytest.raises(error, match=text):
        load_diffusion(path, "cpu")


@pytest.fixture(scope="module")
def toy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of one band."""
    return diffusion.write_diffusion(tmp_path_factory.mktemp("toy"), ["skips"])
