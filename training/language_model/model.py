"""The demo's MusicGen in transformers' own classes, ready to save after the training."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from training.codec.train import CONFIG as CODEC
from training.language_model.tokenizer import pieces

TEXT_WIDTH, TEXT_LAYERS = 128, 2
WIDTH, LAYERS, HEADS = 256, 4, 4
DROPOUT = 0.0
START_TOKEN = CODEC.codebook_size


def make_model() -> Any:
    """Build a MusicgenForConditionalGeneration with random weights."""
    import transformers as hf

    bits = CODEC.codebook_size.bit_length() - 1
    codec = hf.EncodecConfig(
        # EncodecConfig has no field for the number of codebooks; the bandwidth determines it.
        target_bandwidths=[50 * CODEC.codebooks * bits / 1000],
        sampling_rate=CODEC.sample_rate,
        audio_channels=CODEC.channels,
        normalize=False,
        chunk_length_s=None,
        overlap=None,
        hidden_size=CODEC.hidden_size,
        num_filters=CODEC.filters,
        num_residual_layers=CODEC.residual_layers,
        num_lstm_layers=CODEC.lstm_layers,
        upsampling_ratios=list(CODEC.ratios),
        kernel_size=CODEC.kernel_size,
        last_kernel_size=CODEC.last_kernel_size,
        residual_kernel_size=CODEC.residual_kernel_size,
        dilation_growth_rate=CODEC.dilation_growth,
        compress=CODEC.compress,
        use_causal_conv=CODEC.causal,
        use_conv_shortcut=CODEC.conv_shortcut,
        pad_mode=CODEC.pad_mode,
        trim_right_ratio=CODEC.trim_right_ratio,
        codebook_size=CODEC.codebook_size,
        codebook_dim=CODEC.codebook_dim,
        norm_type="weight_norm",
    )
    text = hf.T5Config(
        vocab_size=len(pieces()),
        d_model=TEXT_WIDTH,
        d_kv=32,
        d_ff=2 * TEXT_WIDTH,
        num_layers=TEXT_LAYERS,
        num_heads=4,
        dropout_rate=DROPOUT,
        is_encoder_decoder=False,
        use_cache=False,
    )
    decoder = hf.MusicgenDecoderConfig(
        vocab_size=CODEC.codebook_size,
        max_position_embeddings=2048,
        num_hidden_layers=LAYERS,
        ffn_dim=4 * WIDTH,
        num_attention_heads=HEADS,
        hidden_size=WIDTH,
        dropout=DROPOUT,
        attention_dropout=0.0,
        num_codebooks=CODEC.codebooks,
        audio_channels=1,
        pad_token_id=START_TOKEN,
        bos_token_id=START_TOKEN,
    )
    return hf.MusicgenForConditionalGeneration(
        hf.MusicgenConfig(text_encoder=text, audio_encoder=codec, decoder=decoder)
    )


def logits(model: Any, tokens: Tensor, mask: Tensor, sequence: Tensor) -> Tensor:
    """Return the logits (batch, books, steps, vocabulary) of delayed sequences.

    `tokens`, `mask`: text (batch, length). `sequence`: (batch, books, steps). A row with a mask of
    zeros is unconditional: its text states are zero, as in guidance.
    """
    hidden = model.text_encoder(
        input_ids=tokens, attention_mask=mask.clamp(min=0)
    ).last_hidden_state
    hidden = model.enc_to_dec_proj(hidden) * mask[..., None]
    flat = sequence.flatten(0, 1)
    out = model.decoder(
        input_ids=flat, encoder_hidden_states=hidden, encoder_attention_mask=mask
    ).logits
    return out.unflatten(0, sequence.shape[:2])
