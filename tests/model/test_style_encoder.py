"""The style encoder equals audiocraft's, part by part, and MERT equals transformers' HuBERT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from musicgen.checkpoints.audiocraft.style_names import PREFIX, rename_mert, rename_style
from musicgen.model.style.config import StyleConfig
from musicgen.model.style.encoder import StyleEncoder
from musicgen.model.style.excerpt import cut_excerpt, resample_excerpt
from tests.support import audiocraft as toy
from tests.support import style

# Codebooks and seconds of each case.
CASES = {"both": (3, 3.0), "narrow": (1, 1.5), "long": (6, 4.5)}
EVERY_CASE = pytest.mark.parametrize("case", CASES)


@pytest.fixture(scope="module")
def encoder() -> StyleEncoder:
    """The toy style encoder with audiocraft's and MERT's weights."""
    shapes, where = style.read_shapes(), Path("toy")
    drawn = style.draw_weights(shapes["language_model"])
    tensors = rename_style(drawn, where)
    tensors |= rename_mert(style.draw_weights(shapes["mert"]), where)
    made = StyleEncoder(StyleConfig.from_json(style.describe_encoder()), toy.WIDTH)
    made.load_state_dict({n.removeprefix(PREFIX): t for n, t in tensors.items()}, strict=True)
    return made.eval()


def _hear(case: str) -> Tensor:
    excerpt = cut_excerpt(style.draw_recording(), style.SAMPLE_RATE, CASES[case][1])
    return torch.from_numpy(resample_excerpt(excerpt, style.SAMPLE_RATE, 24_000))[None]


@EVERY_CASE
def test_the_excerpt_is_the_middle_at_mert_s_rate(case: str) -> None:
    expected = style.read_golden()[f"{case}.samples"]
    samples = _hear(case)
    assert samples.shape == (1, int(CASES[case][1] * 24_000))
    kept = samples[0, :: 16 * style.KEPT_FEATURES]
    np.testing.assert_allclose(kept, expected, atol=1e-6)


@EVERY_CASE
@torch.inference_mode()
def test_the_features_are_those_of_hubert(encoder: StyleEncoder, case: str) -> None:
    features = encoder.features(_hear(case))
    assert features.shape[1] == encoder.config.features.count_frames(_hear(case).shape[1])
    expected = style.read_golden()[f"{case}.features"]
    np.testing.assert_allclose(features[0, :: style.KEPT_FEATURES], expected, atol=2e-5)


@EVERY_CASE
@torch.inference_mode()
def test_the_states_are_those_of_audiocraft(encoder: StyleEncoder, case: str) -> None:
    codebooks, seconds = CASES[case]
    states = encoder(_hear(case), codebooks)
    assert states.shape[1] == int(np.ceil(5 * seconds - 1 / 15))
    np.testing.assert_allclose(states[0], style.read_golden()[f"{case}.states"], atol=2e-5)


@torch.inference_mode()
def test_the_codebooks_used_by_default_are_the_checkpoint_s(encoder: StyleEncoder) -> None:
    x = encoder.embed(encoder.features(_hear("both")))
    assert torch.equal(encoder.quantize(x), encoder.quantize(x, 3))
    assert not torch.equal(encoder.quantize(x), encoder.quantize(x, 4))


@pytest.mark.parametrize(
    ("name", "value"),
    [("feature_extractor_cqt", True), ("attention_relax", 32.0), ("do_stable_layer_norm", True)],
)
def test_another_network_of_mert_is_refused_by_its_setting(name: str, value: object) -> None:
    described = style.describe_encoder()
    described["feature_extractor"][name] = value
    with pytest.raises(ValueError, match=name):
        StyleConfig.from_json(described)
