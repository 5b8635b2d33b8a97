"""A checkpoint's weights as a packed file holds them, and a model made of those.

| form | for | weights of products | text encoder |
|---|---|---|---|
| native-int8 | x86 processors with the native step | int8 in its blocks | float16 in its blocks |
| native-bfloat16 | the same | float16 in its blocks | float16 in its blocks |
| native-float32 | the same | float32 in its blocks | float32 |
| plain-bfloat16 | GPUs; others pack it when it is loaded | bfloat16 | bfloat16, used in float32 |
| plain-float32 | every machine in float32 | float32 | float32 |

All other weights are float32, but for the decoder's in plain-bfloat16, which are bfloat16 too.
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
from musicgen.model.layers import Linear
from musicgen.model.musicgen import MusicGen
from musicgen.model.native.decoder import ACTIVATIONS
from musicgen.model.native.forms import empty, packed
from musicgen.model.native.library import Library
from musicgen.model.native.model import FORMS, Forms, expect_native, holds, start_native

_EMBEDDING = "text_encoder.embedding.weight"


class Packing:
    """How the weights of one configuration go into one form.

    Raises: `UnsupportedCheckpoint` when the form cannot hold such a model.
    """

    def __init__(self, config: MusicGenConfig, form: str) -> None:
        self._precision = precision_of(form)
        self._native: Forms | None = FORMS[self._precision] if form.startswith(NATIVE) else None
        if self._native is not None and config.decoder.activation not in ACTIVATIONS:
            raise UnsupportedCheckpoint(
                f"the native step does not know the activation {config.decoder.activation}: "
                f"choose {PLAIN}bfloat16 or {PLAIN}float32"
            )
        with torch.device("meta"):
            model = MusicGen(config)
        self._linears = {n for n, m in model.named_modules() if isinstance(m, Linear)}
        self.weights: dict[str, Tensor] = dict(model.state_dict())
        """What is packed, by the names of `MusicGen`, on the meta device."""

    def expected(self, name: str) -> dict[str, Tensor]:
        """What the file holds of one of `weights`: tensors on the meta device."""
        weight = self.weights[name]
        form = self._form_of(name)
        if form is None:
            return {name: torch.empty(weight.shape, dtype=self._dtype_of(name), device="meta")}
        with torch.device("meta"):
            outputs, inputs = weight.shape
            return _named(name, empty(outputs, inputs, form)._asdict())

    def packed(self, name: str, weight: Tensor) -> dict[str, Tensor]:
        """The tensors that the file holds of it. Raises: `UnsupportedCheckpoint`."""
        form, dtype = self._form_of(name), self._dtype_of(name)
        largest = torch.finfo(dtype).max
        if not holds(weight, form) or bool(weight.abs().max() > largest):
            raise UnsupportedCheckpoint(
                f"{name} has weights that 16 bits cannot hold: choose the precision float32"
            )
        if form is None:
            return {name: weight.to(dtype)}
        return _named(name, packed(weight, form)._asdict())

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
    """The model of a packed file, in eval mode on `device`; on a processor its weights stay where
    the file is mapped. A native form needs the `library`; of a plain one `dtype` is the decoder's.

    Raises: `CheckpointMismatch` when the file holds other tensors than its configuration asks for.
    """
    form = pack.manifest.form
    native = FORMS[precision_of(form)] if form.startswith(NATIVE) else None
    with torch.device("meta"):
        model = MusicGen(config)
        if native is not None and library is not None:
            expect_native(library, model, native)
    wanted = model.state_dict()
    _check_names(pack, wanted)
    state, staging = {}, Staging(device) if device.type == "cuda" else None
    for name, empty_ in wanted.items():
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


def _check_names(pack: PackFile, wanted: Mapping[str, Tensor]) -> None:
    differing = sorted(pack.names() ^ wanted.keys()) or [
        name for name, empty_ in wanted.items() if pack[name].shape != empty_.shape
    ]
    if differing:
        raise CheckpointMismatch(
            f"{pack.path} does not fit its own configuration at {differing[0]} and "
            f"{len(differing) - 1} more: pack it again"
        )


def _named(name: str, parts: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    """The buffers of a `NativeLinear` by their names in a whole model."""
    prefix = name.removesuffix("weight")
    return {prefix + part: tensor for part, tensor in parts.items() if tensor is not None}
