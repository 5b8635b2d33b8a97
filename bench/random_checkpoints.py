"""MusicGen checkpoints with random weights, in Hugging Face format, at any size.

transformers' own classes build and save them, so that they serve as the oracle of the tests (toy
sizes, `tests/support/checkpoints.py`) and stand in for the published weights in benchmarks (full
sizes, `bench/full_size.py`). Nothing here derives from the published weights: their CC-BY-NC
licence does not reach these folders.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from bench.random_weights import randomise
from bench.toy_tokenizer import VOCAB_SIZE, write_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ModelType = Literal["musicgen", "musicgen_melody"]
SAMPLE_RATE = 32_000
FRAME_RATE = 50
UPSAMPLING_RATIOS = (8, 5, 4, 4)


@dataclass(frozen=True, kw_only=True)
class FamilySpec:
    """The shapes of one checkpoint. `codebooks` counts those of one audio channel."""

    model_type: ModelType = "musicgen"
    audio_channels: int = 1
    codebooks: int = 4
    vocab_size: int = 64
    max_positions: int = 2048

    hidden_size: int = 64
    heads: int = 4
    layers: int = 2
    ffn_size: int = 128

    text_vocab_size: int = VOCAB_SIZE
    text_hidden_size: int = 32
    text_heads: int = 4
    text_head_dim: int = 8
    text_ffn_size: int = 64
    text_layers: int = 2
    text_activation: Literal["relu", "gated-gelu"] = "relu"
    text_bias_buckets: int = 32
    text_bias_max_distance: int = 128

    chroma_frames: int = 0
    chroma_bins: int = 12

    codec_filters: int = 4
    codec_hidden_size: int = 16
    codec_lstm_layers: int = 2
    codec_causal: bool = False
    codec_conv_shortcut: bool = False

    @property
    def decoder_codebooks(self) -> int:
        return self.codebooks * self.audio_channels

    @property
    def melody(self) -> bool:
        return self.model_type == "musicgen_melody"


def build(
    spec: FamilySpec,
    folder: Path,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> PreTrainedModel:
    """Write a checkpoint folder with weights, configurations and tokenizer; return the model.

    Equal arguments give equal files; the global random state is neither read nor changed. On a GPU
    as `device`, weights of billions of parameters take seconds.
    """
    model = _build_empty(spec, device)
    randomise(model, seed=seed)
    model.eval().to(dtype)
    _set_generation_config(model, spec)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, max_shard_size="5GB")
    write_tokenizer(folder)
    return model


def build_config(spec: FamilySpec) -> Any:
    """Return the `MusicgenConfig` or `MusicgenMelodyConfig` of `spec`."""
    import transformers as hf

    parts = {
        "text_encoder": hf.T5Config(**_text_encoder_fields(spec)),
        "audio_encoder": hf.EncodecConfig(**_codec_fields(spec)),
    }
    if parts["audio_encoder"].num_quantizers != spec.codebooks:
        raise ValueError(f"{spec.codebooks} codebooks of {spec.vocab_size} codes cannot be written")
    if spec.melody:
        return hf.MusicgenMelodyConfig(
            **parts,
            decoder=hf.MusicgenMelodyDecoderConfig(**_decoder_fields(spec)),
            num_chroma=spec.chroma_bins,
            chroma_length=spec.chroma_frames,
        )
    return hf.MusicgenConfig(**parts, decoder=hf.MusicgenDecoderConfig(**_decoder_fields(spec)))


def _build_empty(spec: FamilySpec, device: str) -> PreTrainedModel:
    import transformers as hf
    from transformers.initialization import no_init_weights

    kind = hf.MusicgenForConditionalGeneration
    if spec.melody:
        kind = hf.MusicgenMelodyForConditionalGeneration
    config = build_config(spec)
    with no_init_weights(), torch.device(device):
        model = kind(config)
    model.tie_weights()
    return model


def _set_generation_config(model: PreTrainedModel, spec: FamilySpec) -> None:
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig(
        decoder_start_token_id=spec.vocab_size,
        pad_token_id=spec.vocab_size,
        bos_token_id=spec.vocab_size,
        do_sample=True,
        guidance_scale=3.0,
        max_length=30 * FRAME_RATE,
    )


def _decoder_fields(spec: FamilySpec) -> dict[str, Any]:
    return {
        "vocab_size": spec.vocab_size,
        "pad_token_id": spec.vocab_size,
        "bos_token_id": spec.vocab_size,
        "max_position_embeddings": spec.max_positions,
        "hidden_size": spec.hidden_size,
        "num_attention_heads": spec.heads,
        "num_hidden_layers": spec.layers,
        "ffn_dim": spec.ffn_size,
        "num_codebooks": spec.decoder_codebooks,
        "audio_channels": spec.audio_channels,
    }


def _text_encoder_fields(spec: FamilySpec) -> dict[str, Any]:
    return {
        "vocab_size": spec.text_vocab_size,
        "d_model": spec.text_hidden_size,
        "num_heads": spec.text_heads,
        "d_kv": spec.text_head_dim,
        "d_ff": spec.text_ffn_size,
        "num_layers": spec.text_layers,
        "feed_forward_proj": spec.text_activation,
        "relative_attention_num_buckets": spec.text_bias_buckets,
        "relative_attention_max_distance": spec.text_bias_max_distance,
    }


def _codec_fields(spec: FamilySpec) -> dict[str, Any]:
    # EncodecConfig has no field for the number of codebooks: it follows from the bandwidth.
    bandwidth = FRAME_RATE * spec.codebooks * math.log2(spec.vocab_size) / 1000
    return {
        "sampling_rate": SAMPLE_RATE,
        "target_bandwidths": [bandwidth],
        "upsampling_ratios": list(UPSAMPLING_RATIOS),
        "audio_channels": 1,
        "normalize": False,
        "chunk_length_s": None,
        "codebook_size": spec.vocab_size,
        "hidden_size": spec.codec_hidden_size,
        "num_filters": spec.codec_filters,
        "num_residual_layers": 1,
        "num_lstm_layers": spec.codec_lstm_layers,
        "norm_type": "weight_norm",
        "pad_mode": "reflect",
        "use_causal_conv": spec.codec_causal,
        "use_conv_shortcut": spec.codec_conv_shortcut,
    }
