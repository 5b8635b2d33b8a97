"""Each network alone equals transformers': logits within 1e-4, text states and codec 1e-5."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from musicgen.checkpoints.weights import load_model
from musicgen.engine.pytorch.kv_cache import StaticKVCache
from musicgen.model.config import MusicGenConfig
from musicgen.model.decoder import build_sinusoidal_positions
from musicgen.model.encodec import decode_channels, encode_channels
from musicgen.model.musicgen import MusicGen
from musicgen.model.tokenizer import load_tokenizer
from tests.support import engines, oracle
from tests.support.checkpoints import ALL_SPECS, ODD_SHAPES
from tests.support.oracle import Oracle

CODEC_SHAPES = ["musicgen-small", "musicgen-stereo-small", *ODD_SHAPES]


@pytest.mark.parametrize("name", ALL_SPECS)
@torch.inference_mode()
def test_teacher_forced_logits(
    checkpoints: Callable[[str], Path], oracles: Callable[[str], Oracle], name: str
) -> None:
    folder = checkpoints(name)
    theirs, tokenizer = oracles(name).model, oracles(name).tokenizer
    ours = engines.model(folder)
    decoder = ours.config.decoder
    generator = torch.Generator().manual_seed(1)
    shape = (1, decoder.codebooks, 20)
    codes = torch.randint(decoder.vocab_size, shape, generator=generator)
    tokens = oracle.delayed(theirs, codes)
    prompt = engines.PROMPTS[0]
    expected = oracle.teacher_forced_logits(theirs, tokenizer, [prompt], tokens)[0]
    actual = _logits(ours, load_tokenizer(folder)(prompt), tokens)
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ALL_SPECS)
@torch.inference_mode()
def test_text_states(
    checkpoints: Callable[[str], Path], oracles: Callable[[str], Oracle], name: str
) -> None:
    folder = checkpoints(name)
    prompts = [*engines.PROMPTS, "x " * 200]
    states, mask = oracle.text_states(oracles(name).model, oracles(name).tokenizer, prompts)
    ours, tokenize = engines.model(folder), load_tokenizer(folder)
    for prompt, state, present in zip(prompts, states, mask.bool(), strict=True):
        actual = ours.text_encoder(torch.tensor([tokenize(prompt)]))[0]
        torch.testing.assert_close(actual, state[present], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", CODEC_SHAPES)
@pytest.mark.parametrize("frames", [1, 2, 3, 50])
@torch.inference_mode()
def test_codec_decodes(
    checkpoints: Callable[[str], Path], oracles: Callable[[str], Oracle], name: str, frames: int
) -> None:
    folder = checkpoints(name)
    ours = engines.model(folder)
    decoder = ours.config.decoder
    codes = torch.randint(
        decoder.vocab_size, (2, decoder.codebooks, frames), generator=torch.Generator()
    )
    expected = oracle.encodec_decode(oracles(name).model, codes)
    actual = decode_channels(ours.codec, codes, decoder.channels)
    assert actual.shape == (2, decoder.channels, frames * ours.config.codec.hop_length)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", CODEC_SHAPES)
@pytest.mark.parametrize("samples", [1, 639, 640, 641, 16000])
@torch.inference_mode()
def test_codec_encodes(
    checkpoints: Callable[[str], Path], oracles: Callable[[str], Oracle], name: str, samples: int
) -> None:
    folder = checkpoints(name)
    ours = engines.model(folder)
    generator = torch.Generator().manual_seed(samples)
    waveform = 0.3 * torch.randn(2, ours.config.channels, samples, generator=generator)
    expected = oracle.encodec_encode(oracles(name).model, waveform)
    assert torch.equal(encode_channels(ours.codec, waveform), expected)


def test_positions_do_not_end_at_the_config_s_maximum(
    checkpoints: Callable[[str], Path], oracles: Callable[[str], Oracle]
) -> None:
    """Sinusoids need no table: `max_position_embeddings` limits nothing."""
    folder = checkpoints("short-positions")
    expected = oracle.greedy_tokens(*oracles("short-positions"), ["a"], 40, 3.0)
    actual = engines.codes(engines.engine(folder), ["a"], 40, engines.greedy())
    assert torch.equal(actual, expected)


@pytest.mark.parametrize("name", ["musicgen-small", "musicgen-stereo-small"])
@torch.inference_mode()
def test_reduced_precisions_stay_near_float32(
    checkpoints: Callable[[str], Path], oracles: Callable[[str], Oracle], name: str
) -> None:
    """bfloat16 throughout, float16 weights packed, and int8."""
    folder = checkpoints(name)
    config = MusicGenConfig.from_folder(folder)
    tokens = load_tokenizer(folder)(engines.PROMPTS[0])
    start = torch.full((1, config.decoder.codebooks, 1), config.decoder.start_token)
    reference = _logits(engines.model(folder), tokens, start)
    packed = engines.model_of(engines.engine(folder, "bfloat16"))
    half = load_model(folder, config, torch.device("cpu"), torch.bfloat16)
    spread = reference.std()
    assert (_logits(half, tokens, start) - reference).std() < 0.03 * spread
    assert (_logits(packed, tokens, start) - reference).std() < 0.03 * spread
    eight_bits = engines.model_of(engines.engine(folder, "int8"))
    assert (_logits(eight_bits, tokens, start) - reference).std() < 0.1 * spread


def _logits(model: MusicGen, text: list[int], tokens: torch.Tensor) -> torch.Tensor:
    """Return teacher-forced logits (codebooks, steps, vocabulary), without guidance."""
    decoder, config = model.decoder, model.config
    states = model.encode_text(torch.tensor([text]))
    x = decoder.embed(tokens)
    cross = None
    if config.family == "text":
        cross = decoder.build_cross_attention_cache(states)
    else:
        x = torch.cat([model.encode_chroma(None), states, x], dim=1)
    x = x + build_sinusoidal_positions(x.shape[1], x.shape[2]).to(x.dtype)
    cache = StaticKVCache(config.decoder, 1, x.shape[1], model.device, model.dtype)
    hidden = []
    for step in x.split(1, dim=1):
        hidden.append(decoder(step, cache, cross))
        cache.advance(1)
    wanted = torch.cat(hidden, dim=1)[0, -tokens.shape[2] :]
    return decoder.compute_logits(wanted).transpose(0, 1)
