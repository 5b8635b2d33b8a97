"""Packed products are close to the float products, and rows are independent."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.model.fbgemm import (
    HalfLinear,
    Int8Linear,
    PackLinear,
    can_pack,
    pack_half_linear,
    pack_int8_linear,
    pack_linears,
)
from musicgen.model.layers import Linear

pytestmark = pytest.mark.skipif(not can_pack(), reason="no packed kernels for this processor")


def _weight(outputs: int, inputs: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(seed)) / inputs**0.5


@pytest.mark.parametrize(("pack", "error"), [(pack_half_linear, 1e-3), (pack_int8_linear, 0.03)])
@pytest.mark.parametrize("shape", [(1, 64), (2, 1, 64), (3, 7, 64)])
def test_a_product_is_near_the_float_one(
    pack: PackLinear, error: float, shape: tuple[int, ...]
) -> None:
    weight = _weight(96, 64)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    packed = pack(weight)
    assert packed is not None
    wanted = x @ weight.t()
    found = packed(x)
    assert found.shape == wanted.shape
    assert (found - wanted).norm() < error * wanted.norm()


@settings(deadline=None, max_examples=40)
@given(
    inputs=st.integers(2, 200),
    outputs=st.integers(1, 70),
    neighbours=st.integers(1, 20),
    scale=st.floats(1e-3, 1e4),
    seed=st.integers(0, 1000),
)
def test_an_int8_row_does_not_depend_on_its_neighbours(
    inputs: int, outputs: int, neighbours: int, scale: float, seed: int
) -> None:
    """FBGEMM's own scale covers the whole batch: a loud row would coarsen its neighbours."""
    layer = Int8Linear(_weight(outputs, inputs, seed))
    generator = torch.Generator().manual_seed(seed)
    row = torch.randn(1, inputs, generator=generator)
    others = scale * torch.randn(neighbours, inputs, generator=generator)
    alone = layer(row)
    assert torch.equal(layer(torch.cat([row, others]))[:1], alone)
    assert torch.equal(layer(torch.cat([others, row]))[-1:], alone)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_int8_keeps_its_accuracy_at_every_level(size: float) -> None:
    weight, x = _weight(32, 64), size * torch.randn(4, 64, generator=torch.manual_seed(2))
    wanted = x @ weight.t()
    assert (Int8Linear(weight)(x) - wanted).norm() < 0.03 * wanted.norm()


def test_full_range_values_do_not_overflow() -> None:
    """Without VNNI pairs of products are added in 16 bits, and the largest ones overflow."""
    weight, x = torch.ones(8, 128), torch.ones(2, 128)
    torch.testing.assert_close(Int8Linear(weight)(x), x @ weight.t(), rtol=0.02, atol=0)


def test_zeros_stay_zeros_and_what_is_not_a_number_stays_visible() -> None:
    """The check for non-finite logits must see through quantization."""
    layer = Int8Linear(_weight(8, 16))
    assert torch.equal(layer(torch.zeros(2, 16)), torch.zeros(2, 8))
    for bad in (float("nan"), float("inf")):
        x = torch.ones(2, 16)
        x[0, 3] = bad
        found = layer(x)
        assert not found[0].isfinite().any()
        assert found[1].isfinite().all()
    assert torch.equal(Int8Linear(torch.zeros(8, 16))(torch.ones(1, 16)), torch.zeros(1, 8))


def test_what_a_form_cannot_hold_keeps_its_floats() -> None:
    large = Linear(4, 4)
    large.weight.fill_(1e5)
    module = torch.nn.ModuleDict({"large": large, "narrow": Linear(1, 4)})
    module["narrow"].weight.fill_(1.0)
    pack_linears(module, pack_half_linear)
    assert isinstance(module["large"], Linear) and isinstance(module["narrow"], HalfLinear)
    module["narrow"] = Linear(1, 4)
    pack_linears(module, pack_int8_linear)
    assert isinstance(module["large"], Int8Linear) and isinstance(module["narrow"], Linear)
