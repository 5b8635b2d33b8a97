"""The native library's parts of a model, built from the weights of the PyTorch engine."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from musicgen.engine.interface import Row
from musicgen.engine.pytorch import conditioning as by_pytorch
from musicgen.engine.pytorch.decode_state import DecodeState
from musicgen.model.native.conditioner import NativeConditioner
from musicgen.model.native.draws import NumpyDraws
from musicgen.model.native.generation import NativeDecoderModel, PromptKeys
from musicgen.model.native.library import Library, load_library
from musicgen.model.native.window_state import NativeConditioning, NativeDecodeState
from tests.support import engines


def library() -> Library:
    found = load_library()
    assert found is not None
    return found


@functools.cache
def arrays(folder: Path, precision: str) -> dict[str, NDArray[Any]]:
    """Return the weights as in a packed file of the native form of `precision`."""
    state = engines.model_of(engines.engine(folder, precision)).state_dict()
    return {name: tensor.numpy() for name, tensor in state.items()}


@functools.cache
def decoder(folder: Path, precision: str) -> NativeDecoderModel:
    config = engines.engine(folder, precision).config.decoder
    return NativeDecoderModel(library(), config, arrays(folder, precision))


@functools.cache
def conditioner(folder: Path, precision: str) -> NativeConditioner:
    engine = engines.engine(folder, precision)
    weights, model = arrays(folder, precision), decoder(folder, precision)
    return NativeConditioner(
        library(), engine.config, weights, model, engines.backend_of(engine).tokenize
    )


class Windows:
    """The same window in both engines, with the conditioning of PyTorch's."""

    def __init__(
        self, folder: Path, precision: str, rows: Sequence[Row], frames: int, known: int = 0
    ) -> None:
        engine = engines.engine(folder, precision)
        model, config = engines.model_of(engine), engine.config
        assert model.decoder.native is not None
        shape = (len(rows), config.decoder.codebooks, known)
        codes = torch.randint(config.decoder.vocab_size, shape, generator=torch.manual_seed(frames))
        self.chroma_bins = config.chroma_bins
        seeds = [row.seed for row in rows]
        with torch.inference_mode():
            chroma = torch.eye(config.chroma_bins) if config.family == "melody" else None
            conditioning = by_pytorch.build_conditioning(
                model, engines.backend_of(engine).tokenize, rows, chroma
            )
            self.torch = DecodeState(
                model.decoder, rows, frames, conditioning, codes, NumpyDraws(seeds)
            )
        self.model = decoder(folder, precision)
        self.native = NativeDecodeState(
            self.model,
            [row.sampling for row in rows],
            convert(conditioning),
            self.torch.sequence.numpy(),
            self.torch.first_column,
            NumpyDraws(seeds).next(self.torch.total_steps, config.decoder.codebooks),
        )

    def prefill(self, columns: int | None = None) -> None:
        while not self.torch.prefill(columns):
            assert not self.native.prefill(columns)
        assert self.native.prefill(columns)


def convert(conditioning: by_pytorch.Conditioning) -> NativeConditioning:
    """Return PyTorch's conditioning with the same bits for the native library."""
    prompts: list[PromptKeys | None] = [None] * conditioning.rows
    if (cross := conditioning.cross) is not None:
        for row, length in enumerate(cross.lengths):
            keys, values = (
                np.ascontiguousarray(_view_bits(part)[:, row, :, :length])
                for part in (cross.keys, cross.values)
            )
            prompts[row] = PromptKeys(keys, values)
    prefix = None if conditioning.prefix is None else conditioning.prefix.numpy()
    padding = None if conditioning.padding is None else tuple(conditioning.padding.tolist())
    return NativeConditioning(
        conditioning.clips, conditioning.guided, tuple(prompts), prefix, padding
    )


def _view_bits(keys: torch.Tensor) -> NDArray[Any]:
    return (keys if keys.dtype == torch.float32 else keys.view(torch.uint16)).numpy()


def as_float32(keys: NDArray[Any]) -> NDArray[np.float32]:
    """Return cached keys as numbers; uint16 has the bits of bfloat16."""
    if keys.dtype == np.float32:
        return keys
    return (keys.astype(np.uint32) << 16).view(np.float32)
