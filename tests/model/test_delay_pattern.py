"""The delay pattern loses nothing and equals transformers' mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from musicgen.model.delay_pattern import UNKNOWN, DelayPattern

patterns = st.builds(
    lambda per_channel, channels: DelayPattern(per_channel * channels, channels, 2048),
    st.integers(1, 6),
    st.integers(1, 2),
)


@given(patterns, st.integers(1, 40))
def test_reverting_a_filled_template_gives_the_codes(pattern: DelayPattern, frames: int) -> None:
    codes = np.arange(pattern.codebooks * frames).reshape(pattern.codebooks, frames)
    filled = pattern.build_template(frames, codes)
    assert np.array_equal(pattern.revert(filled), codes)
    assert (filled != UNKNOWN).all()


@given(patterns, st.integers(2, 40), st.data())
def test_a_prompt_leaves_exactly_the_rest_unknown(
    pattern: DelayPattern, frames: int, data: st.DataObject
) -> None:
    known = data.draw(st.integers(1, frames - 1))
    template = pattern.build_template(frames, np.zeros((pattern.codebooks, known), np.int64))
    assert (template == UNKNOWN).sum() == pattern.codebooks * (frames - known)
    first = (template == UNKNOWN).any(0).argmax()
    assert first == pattern.find_first_unknown(known)
    assert template.shape[1] == pattern.count_steps(frames)


@pytest.mark.parametrize(("codebooks", "channels"), [(4, 1), (8, 2), (3, 1)])
def test_the_template_equals_transformers(codebooks: int, channels: int) -> None:
    import transformers as hf

    config = hf.MusicgenDecoderConfig(
        vocab_size=8,
        hidden_size=8,
        num_attention_heads=1,
        num_hidden_layers=1,
        ffn_dim=8,
        num_codebooks=codebooks,
        audio_channels=channels,
        pad_token_id=8,
        bos_token_id=8,
    )
    decoder = hf.MusicgenForCausalLM(config)
    pattern = DelayPattern(codebooks, channels, 8)
    prompt = torch.randint(8, (codebooks, 5))
    start = torch.full((codebooks, 1), 8)
    _, theirs = decoder.build_delay_pattern_mask(
        torch.cat([start, prompt], 1), pad_token_id=8, max_length=pattern.count_steps(12)
    )
    assert np.array_equal(pattern.build_template(12, prompt.numpy()), theirs.numpy())


def test_codebooks_must_divide_among_the_channels() -> None:
    with pytest.raises(ValueError, match="3 codebooks cannot be divided into 2 channels"):
        DelayPattern(3, 2, 8)
