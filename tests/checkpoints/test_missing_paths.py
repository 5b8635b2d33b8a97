"""A model that is not there is refused by what is wrong with its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from musicgen.checkpoints.address import is_hub_name
from musicgen.checkpoints.diffusion_files import locate_diffusion
from musicgen.checkpoints.locate import find_repository, locate
from musicgen.errors import CheckpointNotFound, SettingsError, UnknownModel

PATHS = (
    *("./nofolder", "/no/such/folder", "a/b/c", "../nofolder", "~/nofolder", "tuned/"),
    *("packed/small.native-int8.packed", "runs/tuned.zip", "runs/tuned.tar.gz", "runs/.hidden"),
    *("a/b--c", "a/b.git", "a/mbd.th"),
)
"""Names that cannot be meant for the hub; the last ones it refuses itself."""


@pytest.mark.parametrize("name", PATHS)
def test_a_path_is_told_that_it_does_not_exist(name: str) -> None:
    """Guards the advice to check the network, and a traceback of the hub's client."""
    with pytest.raises(UnknownModel, match=r"is not an existing folder or file .*Check the path"):
        locate(name)
    assert find_repository(name) is None
    with pytest.raises(SettingsError, match="a folder or file that exists"):
        locate_diffusion(name)


@pytest.mark.parametrize(
    "name", ["facebook/musicgen-small", "m-a-p/MERT-v1-95M", "google-t5/t5-large", "a/b.v2_x"]
)
def test_a_hub_name_is_none_of_them(name: str) -> None:
    assert is_hub_name(name)


def test_only_a_name_of_the_catalog_is_suggested() -> None:
    """The description "a folder" was once the nearest name of nofolder."""
    with pytest.raises(UnknownModel, match=r"\(was 'nofolder'\)\.$"):
        locate("nofolder")
    with pytest.raises(UnknownModel, match="Did you mean small"):
        locate("smal")


def test_a_hub_name_beside_a_folder_of_its_owner_is_told_as_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`runs/tuned` may be mistyped."""
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    told = r"^the folder runs here has no tuned, runs/tuned "
    with pytest.raises(CheckpointNotFound, match=told):
        locate("runs/tuned")
    with pytest.raises(CheckpointNotFound, match=r"^other/tuned is not in the cache"):
        locate("other/tuned")
