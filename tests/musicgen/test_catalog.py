"""What the catalog says of a published checkpoint follows from its published shapes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.full_size import FULL_SIZES, MEDIUM
from bench.random_checkpoints import build_config
from musicgen import catalog
from musicgen.model.config import _parse
from musicgen.model.memory import count_parameters, estimate_memory
from musicgen.model.style.config import FeatureConfig, StyleConfig
from musicgen.settings.settings import PRECISIONS as CHOICES

PRECISIONS = set(CHOICES) - {"auto"}
PUBLISHED = [entry for entry in catalog.CATALOG.values() if entry.source != "package"]


def test_all_ten_are_there_with_their_licence() -> None:
    assert len(PUBLISHED) == 10
    assert {entry.licence for entry in PUBLISHED} == {"CC-BY-NC-4.0"}


@pytest.mark.parametrize("entry", PUBLISHED, ids=lambda entry: entry.name)
def test_figures_follow_from_the_shapes(entry: catalog.CatalogEntry) -> None:
    config = _parse(build_config(FULL_SIZES[f"musicgen-{entry.name}"]).to_dict(), {})
    counts = count_parameters(config)
    assert entry.parameters == counts.decoder + counts.other
    assert set(entry.memory) == PRECISIONS
    for precision, size in entry.memory.items():
        assert size == estimate_memory(config, precision)
    assert (entry.family, entry.channels) == (config.family, config.channels)


@pytest.mark.parametrize("name", ["small", "musicgen-small", "facebook/musicgen-small"])
def test_a_model_has_three_spellings(name: str) -> None:
    found = catalog.find(name)
    assert found is not None and found.source == "facebook/musicgen-small"


def test_an_unknown_name_is_not_found() -> None:
    assert catalog.find("huge") is None


def test_the_figures_of_audiogen_follow_from_its_shapes() -> None:
    """MusicGen's medium decoder with T5 large, and a codec of half the rate."""
    text = {"text_hidden_size": 1024, "text_layers": 24, "text_heads": 16, "text_ffn_size": 4096}
    config = _parse(build_config(replace(MEDIUM, **text)).to_dict(), {})
    codec = replace(config.codec, sample_rate=16_000, ratios=(8, 5, 4, 2))
    config = replace(config, codec=codec, window_frames=500)
    entry = catalog.CONVERTIBLE["audiogen-medium"]
    counts = count_parameters(config)
    assert entry.parameters == counts.decoder + counts.other
    assert entry.memory == {p: estimate_memory(config, p) for p in PRECISIONS}
    assert config.sample_rate == entry.sample_rate and config.frame_rate == 50
    assert entry.licence == "CC-BY-NC-4.0"
    assert catalog.find_convertible(entry.source) is entry
    assert catalog.find(entry.name) is None


def test_the_figures_of_musicgen_style_follow_from_its_shapes() -> None:
    """Melody's decoder with the style encoder of the paper, and HuBERT's base size for MERT."""
    melody = _parse(build_config(FULL_SIZES["musicgen-melody"]).to_dict(), {})
    network = {"feature_extractor_cqt": False, "sample_rate": 24_000}
    features = FeatureConfig.from_json(network)
    style = StyleConfig(features, 512, 8, 8, 6, 1024, 3, 15, 3.0, 1.5, 4.5, True)
    config = replace(melody, family="style", chroma_bins=0, chroma_frames=0, style=style)
    entry = catalog.CONVERTIBLE["musicgen-style"]
    counts = count_parameters(config)
    assert entry.parameters == counts.decoder + counts.other
    assert entry.memory == {p: estimate_memory(config, p) for p in PRECISIONS}
    # HuBERT's published size, without the mask of its training and one norm for each place.
    assert features.count_parameters() == 94_371_712 - 768 - 128
    assert entry.licence == "CC-BY-NC-4.0" and entry.family == config.family
