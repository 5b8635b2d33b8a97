"""Packed weight formats of the native step, built by PyTorch and so identical on every machine.

Outputs are grouped in blocks of sixteen. A block is one contiguous stream, in the order the kernels
read it, in memory and in a packed file.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

INT8, FLOAT16, FLOAT32 = 0, 1, 2
BLOCK, GROUP = 16, 4
"""Outputs per block; inputs added by one int8 instruction."""
_INT8_LARGEST = 127
_SMALLEST = 1e-12


class PackedWeight(NamedTuple):
    """A weight in a packed format, padded with zeros.

    `weight`: int8 (blocks, inputs / 4, 16, 4), or a float type (blocks, inputs, 16). int8 also has
    `scales` (float32) and `sums` of the weights (int32), one per output.
    """

    weight: Tensor
    scales: Tensor | None = None
    sums: Tensor | None = None


def allocate(outputs: int, inputs: int, form: int) -> PackedWeight:
    """Allocate the packed form of a weight (outputs, inputs), without values."""
    blocks = -(-outputs // BLOCK)
    if form != INT8:
        dtype = torch.float16 if form == FLOAT16 else torch.float32
        return PackedWeight(torch.empty(blocks, inputs, BLOCK, dtype=dtype))
    weight = torch.empty(blocks, -(-inputs // GROUP), BLOCK, GROUP, dtype=torch.int8)
    padded = blocks * BLOCK
    return PackedWeight(weight, torch.empty(padded), torch.empty(padded, dtype=torch.int32))


def pack_weight(weight: Tensor, form: int) -> PackedWeight:
    """Pack a weight (outputs, inputs) into `form`."""
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
    """Rearrange (outputs, inputs) to (blocks, input groups, outputs, inputs of a group)."""
    outputs, inputs = weight.shape
    padded = F.pad(weight, (0, -inputs % group, 0, -outputs % BLOCK))
    blocks = padded.view(-1, BLOCK, padded.shape[1] // group, group)
    return blocks.transpose(1, 2).contiguous()
