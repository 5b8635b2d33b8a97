"""Compile every kernel of a step for Turing, Ampere, Ada and Hopper, without a GPU.

    python -m tests.engine.pytorch.cuda.kernels.compile_checks

The last line is "compiled".
"""

from __future__ import annotations

import sys
from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from musicgen.engine.pytorch.cuda.kernels import attention, columns, products, sampling
from musicgen.engine.pytorch.cuda.kernels.tiles import CANDIDATES, FLOAT32_TILE, Tile

ALIGNED = ("outputs", "query_stride", "row_stride", "head_stride")
KINDS = {"*bf16": tl.bfloat16, "*fp32": tl.float32}
SHARED_BYTES = {75: 64 << 10, 80: 163 << 10, 89: 99 << 10, 90: 227 << 10}
"""Shared memory of a program, by compute capability."""


def compile_kernel(
    kernel: Any, types: list[str], capability: int, *, warps: int = 4, **constants: Any
) -> str:
    """Compile with arguments as aligned as a step's. Returns: the PTX."""
    names, early = kernel.arg_names, constants.get("early", False)
    signature = dict(zip(names, types, strict=False)) | dict.fromkeys(constants, "constexpr")
    values = {(names.index(name),): value for name, value in constants.items()}
    aligned = {
        (number,): [["tt.divisibility", 16]]
        for number, name in enumerate(names)
        if name not in constants and (signature[name].startswith("*") or name in ALIGNED)
    }
    source = ASTSource(fn=kernel, signature=signature, constexprs=values, attrs=aligned)
    options = {"num_warps": warps, "launch_pdl": early}
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert made.asm["cubin"]
    assert made.metadata.shared <= SHARED_BYTES[capability], (kernel, constants)
    return str(made.asm["ptx"])


def compile_attention(kind: str, capability: int, early: bool) -> None:
    own = (1, True, False), (8, True, False), (1, False, False)
    for splits, appends, quantized in (*own, (1, True, True), (8, True, True)):
        block, warps = attention.BLOCKS[quantized]
        out = "*fp32" if splits > 1 else kind
        cache = ["*i8", "*i8", "*fp32", "*fp32"] if quantized else [kind] * 4
        types = [kind] * 3 + cache + ["*i64"] * 2 + [out, out] + ["i32"] * 4 + ["fp32"]
        ptx = compile_kernel(
            attention._attend,
            types,
            capability,
            warps=warps,
            splits=splits,
            appends=appends,
            quantized=quantized,
            dim=64,
            padded=64,
            block=block,
            early=early,
        )
        assert ptx.count("griddepcontrol") == 2 * early
    sizes = {"splits": 8, "dim": 64, "padded": 64, "early": early}
    compile_kernel(attention._combine, ["*fp32", "*fp32", kind], capability, warps=2, **sizes)


def compile_product(
    kind: str, weight: str, capability: int, tile: Tile, *, early: bool = False
) -> None:
    """Compile the first and the last product of a layer."""
    types = [kind, weight, "*fp32", kind, "*fp32", "*fp32", kind, kind, "i32", "i32", "fp32"]
    line = 128 // {"*fp32": 4, "*bf16": 2}.get(weight, 1)
    for inputs, is_last in ((2048, False), (8192, True)):
        ptx = compile_kernel(
            products._multiply,
            types,
            capability,
            warps=tile.warps,
            inputs=inputs,
            padded=16 if tile.dots else 2,
            block_out=tile.outputs,
            block_in=tile.inputs,
            stages=tile.stages,
            dots=tile.dots,
            scaled=weight != kind,
            normed=not is_last,
            activation=0 if is_last else 1,
            adds=is_last,
            kind=KINDS[kind],
            line=line,
            lines_padded=inputs // line,
            early=early,
        )
        assert ptx.count("griddepcontrol") == 2 * early
        # Weights go through shared memory, several tiles ahead.
        assert capability < 80 or "cp.async" in ptx


def compile_others(kind: str, capability: int) -> None:
    sampled = ["*fp32", "*i64", "*fp32", "*fp32", "*i64", "*i1", "*fp64", "*i64", "*i1"]
    compile_kernel(sampling._sample, [*sampled, "i32", "i32"], capability, padded=2048)
    placed = ["*i64", "*i1", "*i1", *["*i64"] * 5, "*i1", kind, kind, kind, "*i64", "*i64"]
    sizes = {"unknown": -1, "books": 4, "padded": 4, "block": columns.BLOCK}
    compile_kernel(columns._place, [*placed, *["i32"] * 5], capability, **sizes)


def main() -> None:
    for capability in SHARED_BYTES:
        for kind in KINDS:
            compile_others(kind, capability)
            for early in (False, True) if capability >= 90 else (False,):
                compile_attention(kind, capability, early)
        forms = ["*bf16", "*i8", *(["*fp8e4nv"] if capability >= 89 else [])]
        for weight in forms:
            for tile in CANDIDATES:
                compile_product("*bf16", weight, capability, tile)
        compile_product("*fp32", "*fp32", capability, FLOAT32_TILE)
        if capability >= 90:
            for weight in forms:
                compile_product("*bf16", weight, capability, CANDIDATES[0], early=True)
                compile_product("*bf16", weight, capability, CANDIDATES[5], early=True)
    sys.stdout.write("compiled\n")


if __name__ == "__main__":
    main()
