"""What the Triton kernels compute, in plain PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from musicgen.engine.pytorch.cuda.kernels.weights import Product
from musicgen.engine.pytorch.sampling import (
    SamplerFeatures,
    SamplingTensors,
    guide_logits,
    sample_tokens,
)
from musicgen.model.layers import get_activation


def multiply(x: Tensor, product: Product, added: Tensor | None = None) -> Tensor:
    """Compute `product` of `x` (rows, inputs), plus `added` (rows, outputs).

    Returns: (rows, outputs) in the product's type. All sums are in float32.
    """
    exact, weight = x.float(), product.weight.float()
    if product.gain is not None and product.bias is not None:
        norm = product.gain.float(), product.bias.float()
        exact = F.layer_norm(exact, x.shape[-1:], *norm, eps=product.epsilon)
    if product.scale is not None:
        weight = weight * product.scale[:, None]
    result = exact @ weight.t()
    if product.activation:
        result = get_activation(product.activation)(result)
    if added is not None:
        result = result + added.float()
    return result.to(product.out_dtype)


def attend_live(query: Tensor, keys: Tensor, values: Tensor, first: Tensor, end: Tensor) -> Tensor:
    """Attend from one query per row to the columns `first` to `end` - 1 of its cache.

    `query`: (rows, heads, head_dim). `keys`, `values`: (rows, heads, capacity, head_dim). `first`,
    `end`: (rows,) int64. Returns: the shape and type of `query`.
    """
    columns = torch.arange(keys.shape[2], device=keys.device)
    allowed = (columns >= first[:, None]) & (columns < end[:, None])
    scores = torch.einsum("rhd,rhcd->rhc", query.float(), keys.float()) * query.shape[-1] ** -0.5
    scores = scores.masked_fill(~allowed[:, None], float("-inf"))
    return torch.einsum("rhc,rhcd->rhd", scores.softmax(-1), values.float()).to(query.dtype)


def append_attend(
    joined: Tensor, keys: Tensor, values: Tensor, first: Tensor, end: Tensor
) -> Tensor:
    """Store a key and a value of each row at column `end` - 1 of its cache, and `attend_live`.

    `joined`: (rows, 3 * heads * head_dim), the queries, keys and values of one step.
    """
    rows = torch.arange(len(joined), device=joined.device)
    query, key, value = joined.view(len(joined), 3, keys.shape[1], keys.shape[3]).unbind(1)
    keys[rows, :, end - 1], values[rows, :, end - 1] = key, value
    return attend_live(query, keys, values, first, end)


def sample_guided(
    logits: Tensor, unconditional: Tensor, scale: Tensor, rows: SamplingTensors, uniform: Tensor
) -> tuple[Tensor, Tensor]:
    """Guide the logits (rows, codebooks, vocabulary) and sample a token of each row and codebook.

    `unconditional`: (rows,) the rows to guide away from, with `scale` (rows, 1, 1). `rows`: without
    top_p. `uniform`: float64 numbers (rows, codebooks). Returns: tokens (rows, codebooks), and
    whether all guided logits were finite, of the same shape.
    """
    guided = guide_logits(logits, logits[unconditional], scale)
    features = SamplerFeatures(random=True, largest_k=logits.shape[-1], top_p=False)
    return sample_tokens(guided, rows, features, uniform), guided.isfinite().all(-1)
