"""A weight in the form that the native step reads; made by PyTorch, so it is the same anywhere.

A product's outputs lie in blocks of sixteen, and a block is one stream through memory: a form is
kept, also in a file, as it will be read.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

INT8, FLOAT16, FLOAT32 = 0, 1, 2
BLOCK, GROUP = 16, 4
"""Outputs that lie side by side; inputs that an int8 instruction adds up."""
_INT8_LARGEST = 127
_SMALLEST = 1e-12


class PackedWeight(NamedTuple):
    """`weight` of int8 (blocks, inputs / 4, 16, 4), of a float (blocks, inputs, 16), both padded
    with zeros; of int8, one of `scales` (float32) and of `sums` (int32) for padded output."""

    weight: Tensor
    scales: Tensor | None = None
    sums: Tensor | None = None


def allocate(outputs: int, inputs: int, form: int) -> PackedWeight:
    """What `packed` makes of a weight (outputs, inputs), without its numbers."""
    blocks = -(-outputs // BLOCK)
    if form != INT8:
        dtype = torch.float16 if form == FLOAT16 else torch.float32
        return PackedWeight(torch.empty(blocks, inputs, BLOCK, dtype=dtype))
    weight = torch.empty(blocks, -(-inputs // GROUP), BLOCK, GROUP, dtype=torch.int8)
    padded = blocks * BLOCK
    return PackedWeight(weight, torch.empty(padded), torch.empty(padded, dtype=torch.int32))


def pack_weight(weight: Tensor, form: int) -> PackedWeight:
    """A weight (outputs, inputs) in `form`."""
    if form == INT8:
        return _pack_int8(weight.float())
    dtype = torch.float16 if form == FLOAT16 else torch.float32
    blocks = _arrange_blocks(weight.to(dtype), 1)
    return PackedWeight(blocks.view(len(blocks), -1, BLOCK))


def _pack_int8(weight: Tensor) -> PackedWeight:
    largest = weight.abs().amax(dim=1).clamp(min=_SMALLEST)
    scales = largest / _INT8_LARGEST
    numbers = (weight / scales[:, None]).round().to(torch.int8)
    sums = numbers.sum(dim=1, dtype=torch.int32)
    padding = (0, -len(weight) % BLOCK)
    return PackedWeight(
        _arrange_blocks(numbers, GROUP), F.pad(scales, padding), F.pad(sums, padding)
    )


def _arrange_blocks(weight: Tensor, group: int) -> Tensor:
    """(outputs, inputs) to (blocks, groups of inputs, outputs of a block, inputs of a group)."""
    outputs, inputs = weight.shape
    padded = F.pad(weight, (0, -inputs % group, 0, -outputs % BLOCK))
    blocks = padded.view(-1, BLOCK, padded.shape[1] // group, group)
    return blocks.transpose(1, 2).contiguous()
