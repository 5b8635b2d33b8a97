"""Weights of a `MusicGen` module from the tensors of a Hugging Face checkpoint.

A pure function, `recipes`, maps their tensors to ours. The model is built on the meta device and
its weights are assigned, so no memory is filled twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from musicgen.checkpoints.adapters.adapter import AdaptedFiles, Adapter
from musicgen.checkpoints.tensor_files import TensorFiles
from musicgen.errors import CheckpointIncomplete, CheckpointMismatch, UnsupportedCheckpoint
from musicgen.errors.counts import format_count
from musicgen.model.config import MusicGenConfig
from musicgen.model.musicgen import MusicGen

_DECODER = "decoder.model.decoder"
_T5 = "text_encoder.encoder"

_TEXT_LAYER = {
    "attention_norm.weight": ("layer.0.layer_norm.weight",),
    "attention.qkv.weight": tuple(f"layer.0.SelfAttention.{p}.weight" for p in "qkv"),
    "attention.out.weight": ("layer.0.SelfAttention.o.weight",),
    "ffn_norm.weight": ("layer.1.layer_norm.weight",),
    "ffn.down.weight": ("layer.1.DenseReluDense.wo.weight",),
}
_TEXT_FFN = {
    False: {"ffn.up.weight": ("layer.1.DenseReluDense.wi.weight",)},
    True: {
        "ffn.gate.weight": ("layer.1.DenseReluDense.wi_0.weight",),
        "ffn.up.weight": ("layer.1.DenseReluDense.wi_1.weight",),
    },
}
_DECODER_LAYER = {
    "self_attention.qkv.weight": tuple(f"self_attn.{p}_proj.weight" for p in "qkv"),
    "self_attention.out.weight": ("self_attn.out_proj.weight",),
    "up.weight": ("fc1.weight",),
    "down.weight": ("fc2.weight",),
}
_CROSS_ATTENTION = {
    "cross_attention.query.weight": ("encoder_attn.q_proj.weight",),
    "cross_attention.key_value.weight": tuple(f"encoder_attn.{p}_proj.weight" for p in "kv"),
    "cross_attention.out.weight": ("encoder_attn.out_proj.weight",),
}
_DECODER_NORMS = {
    "self_attention_norm": "self_attn_layer_norm",
    "cross_attention_norm": "encoder_attn_layer_norm",
    "ffn_norm": "final_layer_norm",
}


@dataclass(frozen=True)
class Recipe:
    """One of our tensors: `sources` joined along the first dimension, or stacked on a new one."""

    sources: tuple[str, ...]
    stack: bool = False


def recipes(config: MusicGenConfig) -> dict[str, Recipe]:
    """Return the recipe of every parameter of `MusicGen(config)`, from the checkpoint's tensors."""
    table = {
        **_text_encoder_recipes(config),
        **_projection_recipes(config),
        **_decoder_recipes(config),
    }
    with torch.device("meta"):
        names = list(MusicGen(config).state_dict())
    codec_names = [name for name in names if name.startswith("codec.")]
    # No other library has the style encoder, so its tensors have our names.
    table |= {name: Recipe((name,)) for name in names if name.startswith("style_encoder.")}
    table |= {name: Recipe((_codec_source(name),)) for name in codec_names}
    table["codec.codebooks"] = Recipe(
        tuple(
            f"audio_encoder.quantizer.layers.{k}.codebook.embed"
            for k in range(config.codec.codebooks)
        ),
        stack=True,
    )
    return table


class CheckpointWeights:
    """Weights of a checkpoint's folder by the names of `MusicGen`, built on request.

    The adapter in the folder `adapter` is merged in.
    Raises: `CheckpointIncomplete`, `CheckpointCorrupt`, `UnsupportedCheckpoint`.
    """

    def __init__(self, folder: Path, config: MusicGenConfig, adapter: Path | None = None) -> None:
        if config.codec.unsupported:
            raise UnsupportedCheckpoint(
                f"{folder}: EnCodec with {', '.join(config.codec.unsupported)}"
            )
        self._config = config
        self._files = (
            TensorFiles(folder) if adapter is None else AdaptedFiles(folder, Adapter(adapter))
        )
        try:
            self._recipes = recipes(config)
        except ValueError as error:
            raise UnsupportedCheckpoint(f"{folder}: {error}") from error
        _check_complete(self._files, self._recipes.values())

    def get(self, name: str, shape: torch.Size) -> Tensor:
        """Return one weight. Raises: `CheckpointMismatch` for another shape."""
        recipe = self._recipes[name]
        tensor = _build(self._files, recipe)
        if tensor.shape != shape:
            raise CheckpointMismatch(
                f"{self._files.file_of(_find_names(self._files, recipe.sources[0])[0])}: "
                f"{' + '.join(recipe.sources)} has shape {tuple(tensor.shape)}, but "
                f"config.json requires {tuple(shape)}"
            )
        return tensor

    def find_unused(self) -> list[str]:
        """Return the names of the tensors that the model does not read."""
        used = {
            name
            for recipe in self._recipes.values()
            for source in recipe.sources
            for name in _find_names(self._files, source)
        }
        return [name for name in self._files.names if name not in used]

    def check_shapes(self) -> None:
        """Check the shape of every weight. Raises: `CheckpointMismatch`."""
        with torch.device("meta"):
            model = MusicGen(self._config)
        for name, empty in model.state_dict().items():
            self.get(name, empty.shape)


def load_model(
    folder: Path,
    config: MusicGenConfig,
    device: torch.device,
    dtype: torch.dtype,
    *,
    pack: Callable[[MusicGen], None] | None = None,
    adapter: Path | None = None,
) -> MusicGen:
    """Load a `MusicGen` with the weights of `folder`, in eval mode on `device`.

    `dtype`: the decoder's; text encoder and codec stay float32, because they run once per request.
    `pack`: packs the weights of matrix products for a processor. `adapter`: the folder of an
    adapter to merge.

    Raises: `CheckpointIncomplete`, `CheckpointCorrupt`, `CheckpointMismatch`,
    `UnsupportedCheckpoint`.
    """
    weights = CheckpointWeights(folder, config, adapter)
    with torch.device("meta"):
        model = MusicGen(config)
    state = {}
    for name, empty in model.state_dict().items():
        tensor = weights.get(name, empty.shape)
        kind = dtype if name.startswith("decoder.") else torch.float32
        # A float32 model stays memory-mapped. A smaller one is copied, because one mapped tensor
        # keeps the whole file mapped. `pack` copies its weights itself.
        is_packed = pack is not None and name.startswith("decoder.layers.") and tensor.dim() == 2
        copy = (pack is not None or dtype != torch.float32) and not is_packed
        state[name] = tensor.to(device=device, dtype=kind, copy=copy)
    model.load_state_dict(state, assign=True)
    if pack is not None:
        pack(model)
    return model.eval().requires_grad_(False)


def _text_encoder_recipes(config: MusicGenConfig) -> dict[str, Recipe]:
    table = {
        "text_encoder.embedding.weight": Recipe(("text_encoder.shared.weight",)),
        "text_encoder.position_bias.weight": Recipe(
            (f"{_T5}.block.0.layer.0.SelfAttention.relative_attention_bias.weight",)
        ),
        "text_encoder.norm.weight": Recipe((f"{_T5}.final_layer_norm.weight",)),
    }
    for i in range(config.text_encoder.layers):
        for ours, theirs in (_TEXT_LAYER | _TEXT_FFN[config.text_encoder.gated]).items():
            sources = tuple(f"{_T5}.block.{i}.{name}" for name in theirs)
            table[f"text_encoder.blocks.{i}.{ours}"] = Recipe(sources)
    return table


def _projection_recipes(config: MusicGenConfig) -> dict[str, Recipe]:
    size = config.decoder.hidden_size
    projections = {"text_projection": ("enc_to_dec_proj", config.text_encoder.hidden_size)}
    if config.family == "melody":
        projections["chroma_projection"] = ("audio_enc_to_dec_proj", config.chroma_bins)
    return {
        f"{ours}.{part}": Recipe((f"{theirs}.{part}",))
        for ours, (theirs, inputs) in projections.items()
        if inputs != size
        for part in ("weight", "bias")
    }


def _decoder_recipes(config: MusicGenConfig) -> dict[str, Recipe]:
    books = range(config.decoder.codebooks)
    norms = dict(_DECODER_NORMS)
    parts = dict(_DECODER_LAYER)
    if config.decoder.cross_attention:
        parts |= _CROSS_ATTENTION
    else:
        del norms["cross_attention_norm"]
    for ours, theirs in norms.items():
        parts |= {f"{ours}.{p}": (f"{theirs}.{p}",) for p in ("weight", "bias")}
    table = {
        "decoder.embeddings": Recipe(tuple(f"{_DECODER}.embed_tokens.{k}.weight" for k in books)),
        "decoder.heads.weight": Recipe(tuple(f"decoder.lm_heads.{k}.weight" for k in books)),
        "decoder.norm.weight": Recipe((f"{_DECODER}.layer_norm.weight",)),
        "decoder.norm.bias": Recipe((f"{_DECODER}.layer_norm.bias",)),
    }
    for i in range(config.decoder.layers):
        for ours, sources in parts.items():
            table[f"decoder.layers.{i}.{ours}"] = Recipe(
                tuple(f"{_DECODER}.layers.{i}.{name}" for name in sources)
            )
    return table


def _codec_source(name: str) -> str:
    """Return their name of one of our codec's tensors; the order of modules is the same."""
    theirs = re.sub(r"^codec\.(encoder|decoder)\.", r"audio_encoder.\1.layers.", name)
    return theirs.replace(".narrow.", ".block.1.").replace(".widen.", ".block.3.")


def _build(files: TensorFiles, recipe: Recipe) -> Tensor:
    tensors = [_tensor(files, source) for source in recipe.sources]
    if recipe.stack:
        return torch.stack(tensors)
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)


def _tensor(files: TensorFiles, source: str) -> Tensor:
    stored = _find_names(files, source)
    if len(stored) == 1:
        return files[stored[0]]
    magnitude, direction = (files[name].float() for name in stored)
    # Weight normalization (Salimans and Kingma 2016), one magnitude for each first index.
    return torch._weight_norm(direction, magnitude, 0)


def _find_names(files: TensorFiles, source: str) -> tuple[str, ...]:
    """Return the stored names of `source`: itself, an alias, or (magnitude, direction)."""
    prefix = source.removesuffix(".weight")
    aliases: list[tuple[str, ...]] = [
        # One tensor under two names. After a merge by PEFT they may differ; T5 reads this one.
        (source.replace("text_encoder.shared.", f"{_T5}.embed_tokens."),),
        (source,),
        (
            f"{prefix}.parametrizations.weight.original0",
            f"{prefix}.parametrizations.weight.original1",
        ),
        (f"{prefix}.weight_g", f"{prefix}.weight_v"),
    ]
    return next((names for names in aliases if all(n in files for n in names)), ())


def _check_complete(files: TensorFiles, table: Iterable[Recipe]) -> None:
    missing = [s for recipe in table for s in recipe.sources if not _find_names(files, s)]
    if missing:
        names = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
        raise CheckpointIncomplete(
            f"{files.folder} lacks {format_count(len(missing), 'tensor')} of its config.json: "
            f"{names}"
        )
