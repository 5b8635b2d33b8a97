"""Overlap of consecutive kernels: the next one starts while the last programs of this one run.

A kernel of a small product ends in microseconds, and its launch costs nearly as much. On GPUs from
compute capability 9.0 a kernel may start before the previous one ends (programmatic dependent
launch). It must then wait itself, before it reads a result or writes anything. The wait lasts until
the previous kernel has ended, and that kernel waited for the one before it: no order is lost.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait


@triton.jit
def start_next(early: tl.constexpr):  # type: ignore[no-untyped-def]
    """Allow the next kernel to start; every program of a kernel calls it or ends."""
    if early:
        gdc_launch_dependents()


@triton.jit
def wait_for_previous(early: tl.constexpr):  # type: ignore[no-untyped-def]
    """Wait until the previous kernel has ended; every program of a kernel calls it."""
    if early:
        gdc_wait()


@triton.jit
def prefetch(addresses, early: tl.constexpr):  # type: ignore[no-untyped-def]
    """Fetch the lines at `addresses` into the L2 cache while the previous kernel runs.

    Only for what no kernel of the step writes: weights.
    """
    if early:
        tl.inline_asm_elementwise(
            "prefetch.global.L2 [$1]; mov.u32 $0, 0;",
            "=r,l",
            [addresses.to(tl.int64)],
            dtype=tl.int32,
            is_pure=False,
            pack=1,
        )
