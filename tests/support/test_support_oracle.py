"""Guards the oracle: a toy model whose tokens hardly vary would let any engine pass."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable

import pytest
import torch

from tests.support import oracle
from tests.support.checkpoints import ALL_SPECS, FAMILIES
from tests.support.oracle import Oracle

PROMPTS = ["80s pop track with bassy drums and synth", "calm piano"]
FRAMES = 14
MELODIES = [name for name, spec in ALL_SPECS.items() if spec.melody]
STEREO = [name for name, spec in FAMILIES.items() if spec.audio_channels == 2]

Oracles = Callable[[str], Oracle]
Tokens = Callable[[str, float], torch.Tensor]


@pytest.fixture(scope="module")
def tokens(oracles: Oracles) -> Tokens:
    """`tokens(name, guidance)`: greedy tokens of `PROMPTS`, (2, codebooks, FRAMES)."""

    @functools.cache
    def greedy(name: str, guidance: float) -> torch.Tensor:
        return oracle.greedy_tokens(*oracles(name), PROMPTS, FRAMES, guidance)

    return greedy


@pytest.mark.parametrize("name", ALL_SPECS)
def test_tokens_vary_and_depend_on_prompt_and_guidance(name: str, tokens: Tokens) -> None:
    spec = ALL_SPECS[name]
    plain, guided = tokens(name, 1), tokens(name, 3)
    assert plain.shape == guided.shape == (2, spec.decoder_codebooks, FRAMES)
    for result in (plain, guided):
        assert 0 <= result.min() <= result.max() < spec.vocab_size
        assert _fewest_codes(result) >= 5
        assert _share_that_differs(result[0], result[1]) > 0.25
    assert _share_that_differs(plain, guided) > 0.25


@pytest.mark.parametrize("name", ALL_SPECS)
def test_teacher_forcing_finds_the_greedy_tokens(
    name: str, oracles: Oracles, tokens: Tokens
) -> None:
    """One masked pass over the whole sequence agrees with cached decoding, step by step, and the
    margins are wide enough for another engine's rounding."""
    model, tokenizer = oracles(name)
    inputs = oracle.delayed(model, tokens(name, 1))
    logits = oracle.teacher_forced_logits(model, tokenizer, PROMPTS, inputs)
    best = logits[:, :, :-1].topk(2, dim=-1)
    targets = inputs[:, :, 1:]
    chosen = targets != ALL_SPECS[name].vocab_size
    assert torch.equal(best.indices[..., 0][chosen], targets[chosen])
    margins = (best.values[..., 0] - best.values[..., 1])[chosen]
    assert (margins < 1e-3).float().mean() < 0.02


def test_guidance_mixes_with_a_masked_zero_condition(oracles: Oracles, tokens: Tokens) -> None:
    model, tokenizer = oracles("musicgen-small")
    inputs = oracle.delayed(model, tokens("musicgen-small", 3))
    given = oracle.teacher_forced_logits(model, tokenizer, PROMPTS, inputs)
    with torch.no_grad():
        free = model(
            encoder_outputs=(torch.zeros(2, 1, FAMILIES["musicgen-small"].text_hidden_size),),
            attention_mask=torch.zeros(2, 1, dtype=torch.long),
            decoder_input_ids=inputs.flatten(0, 1),
        ).logits.view_as(given)
    best = (free + 3 * (given - free)).argmax(dim=-1)[:, :, :-1]
    targets = inputs[:, :, 1:]
    chosen = targets != FAMILIES["musicgen-small"].vocab_size
    assert torch.equal(best[chosen], targets[chosen])


@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        ("musicgen-small", "enc_to_dec_proj.bias"),
        ("musicgen-small", "decoder.model.decoder.layers.0.self_attn_layer_norm.bias"),
        ("musicgen-small", "decoder.model.decoder.layers.1.encoder_attn_layer_norm.bias"),
        ("musicgen-small", "decoder.model.decoder.layers.1.final_layer_norm.bias"),
        ("musicgen-small", "decoder.model.decoder.layer_norm.bias"),
        ("musicgen-small", "decoder.model.decoder.layers.1.encoder_attn.q_proj.weight"),
        ("musicgen-small", "text_encoder.encoder.block.1.layer.0.SelfAttention.o.weight"),
        (
            "musicgen-small",
            "text_encoder.encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        ),
        (
            "musicgen-stereo-small",
            "text_encoder.encoder.block.1.layer.1.DenseReluDense.wi_1.weight",
        ),
        ("musicgen-melody", "audio_enc_to_dec_proj.bias"),
        ("musicgen-stereo-melody", "enc_to_dec_proj.bias"),
    ],
)
def test_every_part_decides_tokens(
    name: str, parameter: str, oracles: Oracles, tokens: Tokens
) -> None:
    """An engine that forgets one bias is found out."""
    model, tokenizer = oracles(name)
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.get_parameter(parameter).zero_()
    found = oracle.greedy_tokens(broken, tokenizer, PROMPTS, FRAMES, 1)
    assert _share_that_differs(found, tokens(name, 1)) > 0.01


@pytest.mark.parametrize("name", ["musicgen-small", "musicgen-stereo-melody", "three-codebooks"])
@pytest.mark.parametrize("guidance", [1, 3])
def test_own_tokens_continue_themselves(
    name: str, guidance: float, oracles: Oracles, tokens: Tokens
) -> None:
    whole = tokens(name, guidance)

    def continued(audio_codes: torch.Tensor) -> torch.Tensor:
        return oracle.greedy_tokens(
            *oracles(name), PROMPTS, FRAMES, guidance, audio_codes=audio_codes
        )

    assert torch.equal(continued(whole[..., :5]), whole)
    foreign = continued(whole[..., :5].flip(-1))
    assert torch.equal(foreign[..., :5], whole[..., :5].flip(-1))
    assert not torch.equal(foreign[..., 5:], whole[..., 5:])


@pytest.mark.parametrize("name", MELODIES)
def test_tokens_follow_the_chroma(name: str, oracles: Oracles, tokens: Tokens) -> None:
    bins = torch.randint(12, (2, 9), generator=torch.Generator().manual_seed(1))
    chroma = torch.nn.functional.one_hot(bins, 12).float()
    led = oracle.greedy_tokens(*oracles(name), PROMPTS, FRAMES, 1, chroma=chroma)
    assert _share_that_differs(led, tokens(name, 1)) > 0.25


def test_what_transformers_cannot_do_is_refused(oracles: Oracles, tokens: Tokens) -> None:
    subject = oracles("musicgen-small")
    with pytest.raises(ValueError, match="shorter than 3"):
        oracle.greedy_tokens(*subject, PROMPTS, 2, 1)
    with pytest.raises(ValueError, match="below 1"):
        oracle.greedy_tokens(*subject, PROMPTS, FRAMES, 0.5)
    with pytest.raises(ValueError, match="cannot hold 14"):
        oracle.greedy_tokens(*subject, PROMPTS, 9, 1, audio_codes=tokens("musicgen-small", 1))


@pytest.mark.parametrize("name", ALL_SPECS)
def test_codec_output_is_audible_and_its_codes_vary(
    name: str, oracles: Oracles, tokens: Tokens
) -> None:
    codes = tokens(name, 3)
    audio = oracle.encodec_decode(oracles(name).model, codes)
    assert audio.shape == (2, ALL_SPECS[name].audio_channels, FRAMES * 640)
    assert 0.1 < audio.std() < 0.5
    assert audio.mean().abs() < 0.1
    encoded = oracle.encodec_encode(oracles(name).model, audio)
    assert encoded.shape == codes.shape
    assert _fewest_codes(encoded) >= 5


@pytest.mark.parametrize("name", STEREO)
def test_left_and_right_differ(name: str, oracles: Oracles, tokens: Tokens) -> None:
    codes = tokens(name, 3)
    assert _share_that_differs(codes[:, ::2], codes[:, 1::2]) > 0.5
    left, right = oracle.encodec_decode(oracles(name).model, codes).unbind(1)
    assert (left - right).std() > 0.1
    swapped = oracle.encodec_encode(oracles(name).model, torch.stack([right, left], dim=1))
    straight = oracle.encodec_encode(oracles(name).model, torch.stack([left, right], dim=1))
    assert torch.equal(swapped[:, ::2], straight[:, 1::2])


@pytest.mark.parametrize("name", ["musicgen-small", "musicgen-stereo-melody"])
def test_recorded_tokens_are_those_that_generate_decodes(
    name: str, oracles: Oracles, tokens: Tokens
) -> None:
    model, tokenizer = oracles(name)
    inputs = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    audio = model.generate(**inputs, do_sample=False, guidance_scale=3.0, max_new_tokens=FRAMES + 3)
    torch.testing.assert_close(oracle.encodec_decode(model, tokens(name, 3)), audio)


@pytest.mark.parametrize("name", ["musicgen-small", "melody-equal-widths"])
def test_padding_does_not_reach_the_text_states(name: str, oracles: Oracles) -> None:
    together, mask = oracle.text_states(*oracles(name), PROMPTS)
    alone, _ = oracle.text_states(*oracles(name), PROMPTS[1:])
    length = alone.shape[1]
    assert mask[1].sum() == length < mask.shape[1]
    torch.testing.assert_close(together[1:, :length], alone, rtol=1e-4, atol=1e-5)
    assert alone.std() > 0.3


@pytest.mark.parametrize(("name", "independent"), [("musicgen-small", True), (MELODIES[0], False)])
def test_batch_mates_reach_melody_tokens_only(
    name: str, independent: bool, oracles: Oracles, tokens: Tokens
) -> None:
    """transformers masks padded text in cross-attention, but lets the melody decoder attend to the
    zeros in its place: there, compare only batches whose prompts have equal lengths."""
    alone = oracle.greedy_tokens(*oracles(name), PROMPTS[1:], FRAMES, 3)
    assert torch.equal(alone, tokens(name, 3)[1:]) is independent


def _share_that_differs(left: torch.Tensor, right: torch.Tensor) -> float:
    return (left != right).float().mean().item()


def _fewest_codes(codes: torch.Tensor) -> int:
    """How many values the least varied codebook of (batch, codebooks, frames) takes."""
    return min(codebook.unique().numel() for codebook in codes.unbind(1))
