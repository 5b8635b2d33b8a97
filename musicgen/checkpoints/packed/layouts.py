"""Weights of a packed file by its form, and the model loaded from them.

| form | for | weights of matrix products | text encoder |
|---|---|---|---|
| native-int8 | x86 processors with the native step | int8 in its blocks | float16 in its blocks |
| native-bfloat16 | the same | float16 in its blocks | float16 in its blocks |
| native-float32 | the same | float32 in its blocks | float32 |
| plain-bfloat16 | GPUs; processors repack it on loading | bfloat16 | bfloat16, used in float32 |
| plain-float32 | every machine in float32 | float32 | float32 |

All other weights are float32. In plain-bfloat16 the whole decoder is bfloat16.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from musicgen.checkpoints.packed.format import NATIVE, PLAIN, precision_of
from musicgen.checkpoints.packed.reader import PackFile
from musicgen.checkpoints.packed.staging import Staging
from musicgen.errors import CheckpointMismatch, UnsupportedCheckpoint
from musicgen.model.config import MusicGenConfig
from musicgen.model.layers import Linear, get_activation
from musicgen.model.musicgen import MusicGen
from musicgen.model.native.decoder import ACTIVATIONS
from musicgen.model.native.forms import allocate, pack_weight
from musicgen.model.native.library import Library
from musicgen.model.native.model import FORMS, Forms, allocate_native, fits_form, start_native

_EMBEDDING = "text_encoder.embedding.weight"


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
        with torch.device("meta"):
            model = MusicGen(config)
        self._linears = {n for n, m in model.named_modules() if isinstance(m, Linear)}
        self.weights: dict[str, Tensor] = dict(model.state_dict())
        """Weights to pack, by the names of `MusicGen`, on the meta device."""

    def describe(self, name: str) -> dict[str, Tensor]:
        """Return the tensors stored for one of `weights`, on the meta device."""
        weight = self.weights[name]
        form = self._form_of(name)
        if form is None:
            return {name: torch.empty(weight.shape, dtype=self._dtype_of(name), device="meta")}
        with torch.device("meta"):
            outputs, inputs = weight.shape
            return _name_buffers(name, allocate(outputs, inputs, form)._asdict())

    def pack(self, name: str, weight: Tensor) -> dict[str, Tensor]:
        """Return the tensors stored for a weight. Raises: `UnsupportedCheckpoint`."""
        form, dtype = self._form_of(name), self._dtype_of(name)
        largest = torch.finfo(dtype).max
        if not fits_form(weight, form) or bool(weight.abs().max() > largest):
            raise UnsupportedCheckpoint(
                f"{name} has weights too large for 16 bits: choose the precision float32"
            )
        if form is None:
            return {name: weight.to(dtype)}
        return _name_buffers(name, pack_weight(weight, form)._asdict())

    def _form_of(self, name: str) -> int | None:
        if self._native is None or name.removesuffix(".weight") not in self._linears:
            return None
        if name.startswith("decoder."):
            return self._native.decoder
        return self._native.text_encoder if name.startswith("text_encoder.") else None

    def _dtype_of(self, name: str) -> torch.dtype:
        if self._native is not None:
            halved = name == _EMBEDDING and self._native.text_encoder is not None
            return torch.float16 if halved else torch.float32
        halved = self._precision == "bfloat16" and name.startswith(("decoder.", "text_encoder."))
        return torch.bfloat16 if halved else torch.float32


def load_packed(
    pack: PackFile,
    config: MusicGenConfig,
    device: torch.device,
    dtype: torch.dtype,
    library: Library | None,
) -> MusicGen:
    """Load the model of a packed file, in eval mode on `device`.

    On a processor the weights stay in the mapped file. `library`: needed by a native form. `dtype`:
    the decoder's in a plain form.

    Raises: `CheckpointMismatch` if tensors and configuration of the file differ.
    """
    form = pack.manifest.form
    native = FORMS[precision_of(form)] if form.startswith(NATIVE) else None
    with torch.device("meta"):
        model = MusicGen(config)
        if native is not None and library is not None:
            allocate_native(library, model, native)
    expected = model.state_dict()
    _check_names(pack, expected)
    state, staging = {}, Staging(device) if device.type == "cuda" else None
    for name, empty_ in expected.items():
        tensor = pack[name]
        if native is None:
            kind = dtype if name.startswith("decoder.") else torch.float32
            tensor = (tensor if staging is None else staging.copy(tensor)).to(kind)
        elif tensor.dtype != empty_.dtype:
            raise CheckpointMismatch(f"{pack.path}: {name} is {tensor.dtype}: pack it again")
        state[name] = tensor
    model.load_state_dict(state, assign=True)
    if native is not None and library is not None:
        start_native(library, model, native)
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


def _name_buffers(name: str, parts: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    """Return the buffers of a `NativeLinear` by their names in the whole model."""
    prefix = name.removesuffix("weight")
    return {prefix + part: tensor for part, tensor in parts.items() if tensor is not None}
