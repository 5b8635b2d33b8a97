"""What the catalog says of a published checkpoint follows from its published shapes."""

from __future__ import annotations

import pytest

from bench.full_size import FULL_SIZES
from bench.random_checkpoints import build_config
from musicgen import catalog
from musicgen.model.config import _parse
from musicgen.model.memory import count_parameters, estimate_memory

PUBLISHED = [entry for entry in catalog.CATALOG.values() if entry.source != "package"]


def test_all_ten_are_there_with_their_licence() -> None:
    assert len(PUBLISHED) == 10
    assert {entry.licence for entry in PUBLISHED} == {"CC-BY-NC-4.0"}


@pytest.mark.parametrize("entry", PUBLISHED, ids=lambda entry: entry.name)
def test_figures_follow_from_the_shapes(entry: catalog.CatalogEntry) -> None:
    config = _parse(build_config(FULL_SIZES[f"musicgen-{entry.name}"]).to_dict(), {})
    counts = count_parameters(config)
    assert entry.parameters == counts.decoder + counts.other
    for precision, size in entry.memory.items():
        assert size == estimate_memory(config, precision)
    assert (entry.family, entry.channels) == (config.family, config.channels)


@pytest.mark.parametrize("name", ["small", "musicgen-small", "facebook/musicgen-small"])
def test_a_model_has_three_spellings(name: str) -> None:
    found = catalog.find(name)
    assert found is not None and found.source == "facebook/musicgen-small"


def test_an_unknown_name_is_not_found() -> None:
    assert catalog.find("huge") is None
