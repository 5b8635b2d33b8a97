"""Weights of a packed file by its form, and the model in PyTorch loaded from a plain one.

| form | for | weights of matrix products | text encoder |
|---|---|---|---|
| native-int4 | processors with the native step | int4, but int8 for logits and prompts | float16 |
| native-int8 | the same | int8 in its blocks | float16 in its blocks |
| native-bfloat16 | the same | float16 in its blocks | float16 in its blocks |
| native-float32 | the same | float32 in its blocks | float32 in its blocks |
| plain-bfloat16 | GPUs; processors repack it on loading | bfloat16 | bfloat16, used in float32 |
| plain-float32 | every machine in float32 | float32 | float32 |

All other weights are float32. In plain-bfloat16 the whole decoder is bfloat16. In the native forms
the codec's weights are arranged for the native codec, see `musicgen.model.native.codec_forms`; the
engine's native backend reads these files, without PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from musicgen.checkpoints.packed.format import NATIVE, PLAIN, Shape, precision_of
from musicgen.checkpoints.packed.reader import NAMES, PackFile
from musicgen.checkpoints.packed.staging import Staging
from musicgen.checkpoints.packed.tensors import build_array, build_tensor, type_of
from musicgen.errors import CheckpointMismatch, UnsupportedCheckpoint
from musicgen.model.config import MusicGenConfig
from musicgen.model.layers import Linear, get_activation
from musicgen.model.musicgen import MusicGen
from musicgen.model.native.codec_forms import FLOAT32, INT16, CodecPacking
from musicgen.model.native.decoder import ACTIVATIONS
from musicgen.model.native.forms import FLOAT16, describe_parts, pack_weight
from musicgen.model.native.model import FORMS, Forms, fits_form

_CODEC, _EMBEDDING = "codec.", "text_encoder.embedding.weight"
_Part = TypeVar("_Part")


class Packing:
    """Packing of the weights of one configuration into one form.

    Raises: `UnsupportedCheckpoint` if the form cannot hold the model.
    """

    def __init__(self, config: MusicGenConfig, form: str) -> None:
        self._precision = precision_of(form)
        self._native: Forms | None = FORMS[self._precision] if form.startswith(NATIVE) else None
        get_activation(config.decoder.activation)
        if self._native is not None and config.decoder.activation not in ACTIVATIONS:
            raise UnsupportedCheckpoint(
                f"the native step does not support the activation {config.decoder.activation}: "
                f"choose {PLAIN}bfloat16 or {PLAIN}float32"
            )
        if self._native is not None and config.family == "style":
            raise UnsupportedCheckpoint(
                "the native engine has no style encoder: choose "
                f"{PLAIN}bfloat16 or {PLAIN}float32, and PyTorch"
            )
        with torch.device("meta"):
            model = MusicGen(config)
        self._linears = {n for n, m in model.named_modules() if isinstance(m, Linear)}
        self.weights: dict[str, Tensor] = dict(model.state_dict())
        """Weights to pack, by the names of `MusicGen`, on the meta device."""
        self._codec = self._build_codec_packing(config)

    def describe(self, name: str) -> dict[str, Shape]:
        """Return type and shape of the arrays stored for one of `weights`."""
        weight = self.weights[name]
        if self._codec is not None and name.startswith(_CODEC):
            described = self._codec.describe(name, tuple(weight.shape))
            return {part: Shape(NAMES[kind], shape) for part, (shape, kind) in described.items()}
        form = self._form_of(name)
        if form is None:
            kind = type_of(self._dtype_of(name))
            return {name: Shape(kind, tuple(weight.shape))}
        outputs, inputs = weight.shape
        parts = describe_parts(outputs, inputs, form)
        return _name_buffers(
            name, {part: Shape(NAMES[a.dtype], a.shape) for part, a in parts.items()}
        )

    def pack(self, name: str, weight: Tensor) -> dict[str, NDArray[Any]]:
        """Return the arrays stored for a weight. Raises: `UnsupportedCheckpoint`."""
        if self._codec is not None and name.startswith(_CODEC):
            return self._codec.pack(name, weight.float().numpy())
        form, dtype = self._form_of(name), self._dtype_of(name)
        largest = torch.finfo(dtype).max
        if not fits_form(weight, form) or bool(weight.abs().max() > largest):
            raise UnsupportedCheckpoint(
                f"{name} has weights too large for 16 bits: choose the precision float32"
            )
        if form is None:
            return {name: build_array(weight.to(dtype))}
        return _name_buffers(name, pack_weight(weight.float().numpy(), form)._asdict())

    def _build_codec_packing(self, config: MusicGenConfig) -> CodecPacking | None:
        if self._native is None:
            return None
        form = FLOAT32 if self._precision == "float32" else INT16
        return CodecPacking(config.codec, form)

    def _form_of(self, name: str) -> int | None:
        module = name.removesuffix(".weight")
        if self._native is None or module not in self._linears:
            return None
        return self._native.of(module)

    def _dtype_of(self, name: str) -> torch.dtype:
        if self._native is not None:
            halved = name == _EMBEDDING and self._native.text_encoder == FLOAT16
            return torch.float16 if halved else torch.float32
        halved = self._precision == "bfloat16" and name.startswith(("decoder.", "text_encoder."))
        return torch.bfloat16 if halved else torch.float32


def load_packed(
    pack: PackFile, config: MusicGenConfig, device: torch.device, dtype: torch.dtype
) -> MusicGen:
    """Load the model of a packed file of a plain form, in eval mode on `device`.

    `dtype`: the decoder's. On a processor, weights stored in their type stay in the mapped file.

    Raises: `CheckpointMismatch` if tensors and configuration of the file differ.
    """
    with torch.device("meta"):
        model = MusicGen(config)
    expected = model.state_dict()
    _check_names(pack, expected)
    state, staging = {}, Staging(device) if device.type == "cuda" else None
    for name in expected:
        tensor = build_tensor(pack[name])
        kind = dtype if name.startswith("decoder.") else torch.float32
        state[name] = (tensor if staging is None else staging.copy(tensor)).to(kind)
    model.load_state_dict(state, assign=True)
    return model.eval().requires_grad_(False)


def _check_names(pack: PackFile, expected: Mapping[str, Tensor]) -> None:
    differing = sorted(pack.names() ^ expected.keys()) or [
        name for name, empty_ in expected.items() if pack[name].shape != empty_.shape
    ]
    if differing:
        raise CheckpointMismatch(
            f"{pack.path} does not fit its own configuration at {differing[0]} and "
            f"{len(differing) - 1} more: pack it again"
        )


def _name_buffers(name: str, parts: Mapping[str, _Part | None]) -> dict[str, _Part]:
    """Return the buffers of a `NativeLinear` by their names in the whole model."""
    prefix = name.removesuffix("weight")
    return {prefix + part: value for part, value in parts.items() if value is not None}
