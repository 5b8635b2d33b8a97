"""A codec that reconstructs before it is trained, and a quantizer that uses its codes."""

from __future__ import annotations

import copy
import functools

import pytest
import torch

from musicgen.model.encodec import Codec
from training.codec.loss import reconstruction_loss, si_sdr
from training.codec.quantizer import Quantizer
from training.codec.start import pca_start
from training.codec.train import CONFIG
from training.data import HELD_OUT_SEED, make_pool


@functools.cache
def _clips(seed: int, count: int) -> torch.Tensor:
    sound = torch.from_numpy(make_pool(seed, count, seconds=1.0, processes=1).sound)
    return 0.1 * sound / sound.pow(2).mean(1, keepdim=True).sqrt().clamp(min=1e-3)


@pytest.fixture
def started() -> tuple[Codec, Quantizer]:
    """A codec at its start and its quantizer, which a test may change."""
    return copy.deepcopy(_start())


@functools.cache
def _start() -> tuple[Codec, Quantizer]:
    generator = torch.Generator().manual_seed(1)
    codec = Codec(CONFIG)
    with torch.no_grad():
        pca_start(codec, _clips(0, 64)[:, None], generator)
        quantizer = Quantizer(codec, generator)
        vectors = codec.encoder(_clips(0, 64)[:, None]).transpose(1, 2).flatten(0, 1)
        quantizer.start(vectors)
    return codec, quantizer


@torch.no_grad()
def test_the_pca_start_reconstructs_music_that_it_has_not_seen(
    started: tuple[Codec, Quantizer],
) -> None:
    """PyTorch's own start reads about -50 dB."""
    codec, _ = started
    clips = _clips(HELD_OUT_SEED, 12)
    plain = codec.decoder(codec.encoder(clips[:, None]))[:, 0]
    quantized = codec.decode(codec.encode(clips[:, None]))[:, 0]
    assert si_sdr(plain, clips).median() > 5
    assert si_sdr(quantized, clips).median() > 0
    assert reconstruction_loss(plain, clips) < reconstruction_loss(quantized, clips)


def test_gradients_pass_the_quantizer_and_codebooks_follow(
    started: tuple[Codec, Quantizer],
) -> None:
    codec, quantizer = started
    before = codec.codebooks.clone()
    vectors = torch.randn(400, CONFIG.codebook_dim, requires_grad=True)
    quantized, commitment, codes = quantizer(vectors)
    (quantized.sum() + 0 * commitment).backward()
    assert vectors.grad is not None
    torch.testing.assert_close(vectors.grad, torch.ones_like(vectors))
    assert codes.shape == (4, 400)
    assert not torch.equal(codec.codebooks, before)
    again = sum(before[k][codes[k]] for k in range(4))
    torch.testing.assert_close(quantized.detach(), again)


def test_a_loss_of_nothing_is_nothing() -> None:
    clips = _clips(3, 4)
    assert reconstruction_loss(clips, clips) < 1e-4
    assert reconstruction_loss(clips + 0.05 * torch.randn_like(clips), clips) > 0.1
    assert (si_sdr(2 * clips, clips) > 60).all()
