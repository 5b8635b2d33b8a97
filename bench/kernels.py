"""Compare the Triton kernels with their twins in PyTorch: results and times on a GPU.

    python bench/kernels.py --device cuda:0

Each case has the shapes of one layer. "twin" is the kernel's meaning in plain PyTorch, and "engine"
the operators that a step runs without kernels: LayerNorm and a bfloat16 product, attention over the
rounded length with a mask, or guidance and top-k sampling. Attention's "kernel int8" reads an 8-bit
cache, so its error is that of the cache. Times are microseconds of one call in a
CUDA graph, medians; ratios are the engine's time over the kernel's. On a processor the twins alone
run. The last line is one JSON object, saved after each case.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a script: the repository root is not on the path
    sys.path.insert(0, str(ROOT))

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.decode import machine
from musicgen.engine.pytorch.cuda.kernels import twins
from musicgen.engine.pytorch.cuda.kernels.tiles import CANDIDATES
from musicgen.engine.pytorch.cuda.kernels.weights import FORMS, build_product
from musicgen.engine.pytorch.sampling import (
    SamplerFeatures,
    SamplingTensors,
    guide_logits,
    sample_tokens,
)
from musicgen.request import SamplingParams

SIZES = {"large": (2048, 32), "small": (1024, 16), "toy": (64, 4)}
"""Hidden size and heads."""
CALLS, ROUNDS = 50, 7
MAX_ROWS = 16
"""Rows of the product kernel, whose module needs Triton."""


@torch.inference_mode()
def build_products(size: int, rows: int, device: str) -> dict[str, Callable[[], Tensor]]:
    """Return the forms of LayerNorm and the product with query, key and value."""
    x = torch.randn(rows, size, device=device, dtype=torch.bfloat16)
    norm = torch.nn.LayerNorm(size, device=device, dtype=torch.bfloat16)
    weight = torch.randn(3 * size, size, device=device, dtype=torch.bfloat16) / size**0.5
    product = build_product(weight, norm=norm)
    forms = {
        "engine": lambda: F.linear(norm(x), weight),
        "twin": lambda: twins.multiply(x, product),
    }
    if device != "cpu" and find_spec("triton") and rows <= MAX_ROWS:
        from musicgen.engine.pytorch.cuda.kernels.products import multiply

        forms["kernel"] = lambda: multiply(x, product)
        for number, tile in enumerate(CANDIDATES):
            forms[f"tile {number}"] = partial(multiply, x, product, tile=tile)
        for name in FORMS:
            rounded = build_product(weight.clone(), form=name, norm=norm)
            forms[f"kernel {name}"] = partial(multiply, x, rounded)
    return forms


def build_attention(size: int, heads: int, rows: int, device: str) -> Any:
    """Return the forms of attention to 700 of 1504 columns; the engine reads 768."""
    shape = (rows, heads, 1504, size // heads)
    query = torch.randn(rows, heads, size // heads, device=device, dtype=torch.bfloat16)
    keys, values = (torch.randn(shape, device=device, dtype=torch.bfloat16) for _ in range(2))
    first = torch.zeros(rows, device=device, dtype=torch.int64)
    end = torch.full_like(first, 700)
    given = (query, keys, values, first, end)
    mask = torch.zeros(rows, 1, 1, 768, device=device, dtype=torch.bfloat16)
    mask[..., 700:] = float("-inf")
    near = keys[:, :, :768], values[:, :, :768]
    forms = {
        "engine": lambda: F.scaled_dot_product_attention(query[:, :, None], *near, mask)[:, :, 0],
        "twin": lambda: twins.attend_live(*given),
    }
    if device != "cpu" and find_spec("triton"):
        from musicgen.engine.pytorch.cuda.kernels.attention import attend_live

        forms["kernel"] = lambda: attend_live(*given)
        rounded = twins.quantize_vectors(keys), twins.quantize_vectors(values)
        (near_keys, key_factors), (near_values, value_factors) = rounded
        near_given = query, near_keys, near_values, first, end, (key_factors, value_factors)
        forms["kernel int8"] = lambda: attend_live(*near_given)
    return forms


def build_sampling(size: int, rows: int, device: str) -> dict[str, Callable[[], Any]]:
    """Return the forms of guidance and top-k sampling: `rows`, half of them unconditional."""
    logits = 3 * torch.randn(rows, 4, 2048, device=device)
    params = [SamplingParams(1.0, 250, 0.0, 3.0)] * rows
    sampler = SamplingTensors.from_params(params, torch.device(device))
    other = torch.arange(rows, device=device).roll(rows // 2)
    scale = torch.full((rows, 1, 1), 3.0, device=device)
    uniform = torch.rand(rows, 4, device=device, dtype=torch.float64)
    given = (logits, other, scale, sampler, uniform)
    features = SamplerFeatures(random=True, largest_k=256, top_p=False)

    def engine() -> Tensor:
        guided = guide_logits(logits, logits[other], scale)
        return sample_tokens(guided, sampler, features, uniform)

    forms: dict[str, Callable[[], Any]] = {
        "engine": engine,
        "twin": lambda: twins.sample_guided(*given)[0],
    }
    if device != "cpu" and find_spec("triton"):
        from musicgen.engine.pytorch.cuda.kernels.sampling import sample_guided

        forms["kernel"] = lambda: sample_guided(*given)[0]
    return forms


def time_call(call: Callable[[], Tensor], device: str) -> float | None:
    """Return the microseconds of one call, the median of rounds, or None on a processor."""
    if device == "cpu":
        return None
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(CALLS):
            call()
    times = []
    for _ in range(ROUNDS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(1000 * start.elapsed_time(end) / CALLS)
    return round(statistics.median(times), 3)


@torch.inference_mode()
def measure(forms: dict[str, Callable[[], Tensor]], device: str) -> dict[str, Any]:
    """Return times and relative errors against the twin."""
    expected = forms["twin"]().float()
    figures: dict[str, Any] = {}
    for name, call in forms.items():
        found = call().float()
        error = float((found - expected).norm() / expected.norm())
        figures[name] = {
            "microseconds": time_call(call, device),
            "relative_error": round(error, 6),
        }
    if figures.get("kernel", {}).get("microseconds"):
        ours, theirs = figures["kernel"]["microseconds"], figures["engine"]["microseconds"]
        figures["engine over kernel"] = round(theirs / ours, 3)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=("large", "small"))
    parser.add_argument("--rows", nargs="+", type=int, default=(2, 16, 64))
    parser.add_argument("--save", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    cases: dict[str, Any] = {}
    report = {
        "name": "kernels",
        "machine": machine(options.device, torch.get_num_threads()),
        "cases": cases,
    }
    for size in options.sizes:
        hidden, heads = SIZES[size]
        for rows in options.rows:
            builders = {
                "product": build_products(hidden, rows, options.device),
                "attention": build_attention(hidden, heads, rows, options.device),
                "sampling": build_sampling(hidden, rows, options.device),
            }
            for kind, forms in builders.items():
                label = f"{kind}, {size}, {rows} rows"
                try:
                    cases[label] = measure(forms, options.device)
                except Exception as error:  # the other cases must still be measured
                    cases[label] = {"error": f"{type(error).__name__}: {error}"[:300]}
                print(label, json.dumps(cases[label]), flush=True)
                if options.save is not None:
                    options.save.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
