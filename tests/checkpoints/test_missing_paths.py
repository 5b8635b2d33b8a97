"""A model that is not there is refused by what is wrong with its name."""

from __future__ import annotations

import pytest

from musicgen.checkpoints.locate import locate
from musicgen.errors import UnknownModel


@pytest.mark.parametrize("name", ["./nofolder", "/no/such/folder", "a/b/c"])
def test_a_path_is_told_that_it_does_not_exist(name: str) -> None:
    with pytest.raises(UnknownModel, match=r"is not an existing folder or file .*Check the path"):
        locate(name)


def test_only_a_name_of_the_catalog_is_suggested() -> None:
    """The description "a folder" was once the nearest name of nofolder."""
    with pytest.raises(UnknownModel, match=r"\(was 'nofolder'\)\.$"):
        locate("nofolder")
    with pytest.raises(UnknownModel, match="Did you mean small"):
        locate("smal")
