"""Packed weight formats of the native library, built by numpy: the same bytes on every machine.

Outputs are grouped in blocks of sixteen. A block is one contiguous stream, in the order the kernels
read it, in memory and in a packed file. This module imports no torch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musicgen.model.native.int4_forms import SLICE, SLICE_BYTES, pack_int4

INT8, FLOAT16, FLOAT32, INT4 = 0, 1, 2, 3
BLOCK, GROUP = 16, 4
"""Outputs per block; inputs added by one int8 instruction."""
_INT8_LARGEST = np.float32(127)
_SMALLEST = np.float32(1e-12)


class PackedWeight(NamedTuple):
    """A weight in a packed format, padded with zeros.

    `weight`: int8 (blocks, inputs / 4, 16, 4), a float type (blocks, inputs, 16), or for int4 the
    bytes of `int4_forms` (blocks, inputs / 64, 576). int8 and int4 also have `scales` (float32),
    int8 `sums` of the weights (int32), one per output.
    """

    weight: NDArray[Any]
    scales: NDArray[np.float32] | None = None
    sums: NDArray[np.int32] | None = None


class Part(NamedTuple):
    """Number type and shape of one array of a packed weight."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def describe_parts(outputs: int, inputs: int, form: int) -> dict[str, Part]:
    """Return the arrays of the packed form of a weight (outputs, inputs), by their names."""
    blocks = -(-outputs // BLOCK)
    if form == INT4:
        return {
            "weight": Part(np.dtype(np.uint8), (blocks, -(-inputs // SLICE), SLICE_BYTES)),
            "scales": Part(np.dtype(np.float32), (blocks * BLOCK,)),
        }
    if form != INT8:
        return {"weight": Part(_float_type(form), (blocks, inputs, BLOCK))}
    return {
        "weight": Part(np.dtype(np.int8), (blocks, -(-inputs // GROUP), BLOCK, GROUP)),
        "scales": Part(np.dtype(np.float32), (blocks * BLOCK,)),
        "sums": Part(np.dtype(np.int32), (blocks * BLOCK,)),
    }


def pack_weight(weight: NDArray[np.float32], form: int) -> PackedWeight:
    """Pack a weight (outputs, inputs) into `form`; halves are rounded to the even number."""
    if form == INT8:
        return _pack_int8(weight)
    if form == INT4:
        return PackedWeight(*pack_int4(weight))
    blocks = _arrange_blocks(weight.astype(_float_type(form), copy=False), 1)
    return PackedWeight(blocks.reshape(len(blocks), -1, BLOCK))


def _float_type(form: int) -> np.dtype[Any]:
    return np.dtype(np.float16 if form == FLOAT16 else np.float32)


def _pack_int8(weight: NDArray[np.float32]) -> PackedWeight:
    largest = np.maximum(np.abs(weight).max(axis=1), _SMALLEST)
    scales = largest / _INT8_LARGEST
    numbers = np.rint(weight / scales[:, None]).astype(np.int8)
    sums = numbers.sum(axis=1, dtype=np.int32)
    padding = (0, -len(weight) % BLOCK)
    return PackedWeight(
        _arrange_blocks(numbers, GROUP), np.pad(scales, padding), np.pad(sums, padding)
    )


def _arrange_blocks(weight: NDArray[Any], group: int) -> NDArray[Any]:
    """Rearrange (outputs, inputs) to (blocks, input groups, outputs, inputs of a group)."""
    outputs, inputs = weight.shape
    padded = np.pad(weight, ((0, -outputs % BLOCK), (0, -inputs % group)))
    blocks = padded.reshape(-1, BLOCK, padded.shape[1] // group, group)
    return np.ascontiguousarray(blocks.swapaxes(1, 2))
