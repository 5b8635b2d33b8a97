"""Packed weights: their numbers, and bytes that never change."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray

from musicgen.model.native.forms import FLOAT16, FLOAT32, INT4, INT8, describe_parts, pack_weight
from musicgen.model.native.int4_forms import quantize_int4

SHAPES = [(16, 16), (3, 5), (70, 33), (33, 70), (1, 1)]
FORMS = [INT8, INT4, FLOAT16, FLOAT32]
GOLDEN = {
    ("random", (16, 16), INT8): "a263060f962d7525",
    ("random", (16, 16), INT4): "ea7af33a39e8b25a",
    ("random", (16, 16), FLOAT16): "f77be7be87a62b94",
    ("random", (16, 16), FLOAT32): "20d7558df6c79ad0",
    ("random", (3, 5), INT8): "53423006c3bce7c5",
    ("random", (3, 5), INT4): "adcc0fe015de8902",
    ("random", (3, 5), FLOAT16): "23f3f9c92bfe108d",
    ("random", (3, 5), FLOAT32): "87cc8c688efcad3d",
    ("random", (70, 33), INT8): "e223766af702e86e",
    ("random", (70, 33), INT4): "a47f78b49781c275",
    ("random", (70, 33), FLOAT16): "76acfaf1ffb987c4",
    ("random", (70, 33), FLOAT32): "e7edd1ef21991ca7",
    ("random", (33, 70), INT8): "5807508a8d0d8175",
    ("random", (33, 70), INT4): "b9f058a614713ec1",
    ("random", (33, 70), FLOAT16): "e7605716f4c68ac1",
    ("random", (33, 70), FLOAT32): "99c43c2533eb3dbf",
    ("random", (1, 1), INT8): "484ccc542d8dd8c3",
    ("random", (1, 1), INT4): "d646b0416fbba49b",
    ("random", (1, 1), FLOAT16): "9a6de512480664d8",
    ("random", (1, 1), FLOAT32): "fe1a60a7544fbbea",
    ("halves", (16, 16), INT8): "23eac5466470d83e",
    ("halves", (16, 16), INT4): "b72d106669a13714",
    ("halves", (16, 16), FLOAT16): "07b85dc7de2d6c7f",
    ("halves", (16, 16), FLOAT32): "988b48a035dd7341",
    ("halves", (3, 5), INT8): "bbeb22dfc4d85070",
    ("halves", (3, 5), INT4): "1a884f0b2c80b998",
    ("halves", (3, 5), FLOAT16): "dfacd5cc2e664463",
    ("halves", (3, 5), FLOAT32): "21283f690eb131c4",
    ("halves", (70, 33), INT8): "83d6cec0f09e73f6",
    ("halves", (70, 33), INT4): "0ac17b868bacfced",
    ("halves", (70, 33), FLOAT16): "3399fea48bfa2070",
    ("halves", (70, 33), FLOAT32): "d897bf72ca405fd5",
    ("halves", (33, 70), INT8): "ac09f3c4087fde65",
    ("halves", (33, 70), INT4): "c4db180aac432c8a",
    ("halves", (33, 70), FLOAT16): "4f6f2df5afd0c10e",
    ("halves", (33, 70), FLOAT32): "6ad7ae6be3349815",
    ("halves", (1, 1), INT8): "23e4bf347b2d7ece",
    ("halves", (1, 1), INT4): "1c90b6297fa53875",
    ("halves", (1, 1), FLOAT16): "66687aadf862bd77",
    ("halves", (1, 1), FLOAT32): "f5a5fd42d16a2030",
}
"""Start of the sha256 of each packed weight. With other bytes no packed file of before would do."""


def _random(outputs: int, inputs: int) -> NDArray[np.float32]:
    generator = np.random.Generator(np.random.PCG64(outputs * 1000 + inputs))
    numbers = generator.integers(-(2**20), 2**20, (outputs, inputs)).astype(np.float32)
    return numbers / np.float32(2**18)


def _halves(outputs: int, inputs: int) -> NDArray[np.float32]:
    """Return multiples of a half; the largest of a row is 127, so that scales are 1.

    The last row is zero.
    """
    numbers = np.arange(outputs * inputs).reshape(outputs, inputs) % 509 - 254
    weight = numbers.astype(np.float32) / np.float32(2)
    weight[:, 0] = 127
    weight[-1] = 0
    return weight


MAKERS = {"random": _random, "halves": _halves}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", MAKERS)
def test_packed_bytes_never_change(kind: str, shape: tuple[int, int], form: int) -> None:
    digest = hashlib.sha256()
    for array in pack_weight(MAKERS[kind](*shape), form):
        if array is not None:
            digest.update(array.tobytes())
    assert digest.hexdigest()[:16] == GOLDEN[kind, shape, form]


def test_int8_rounds_halves_to_the_even_number() -> None:
    weight = np.array([[127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, -127]], np.float32)
    packed = pack_weight(weight, INT8).weight
    assert packed[0, :, 0].reshape(-1).tolist() == [127, 0, 2, 2, 0, -2, -2, -127]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("form", "group"), [(INT8, 4), (FLOAT16, 1), (FLOAT32, 1)])
def test_packing_keeps_every_number(shape: tuple[int, int], form: int, group: int) -> None:
    weight = _random(*shape)
    outputs, inputs = shape
    found = pack_weight(weight, form)
    blocks = found.weight.reshape(len(found.weight), -1, 16, group)
    back = blocks.swapaxes(1, 2).reshape(len(blocks) * 16, -1).astype(np.float32)
    assert not back[outputs:].any() and not back[:, inputs:].any()
    back = back[:outputs, :inputs]
    if found.scales is None:
        assert np.abs(back - weight).max() <= (0 if form == FLOAT32 else 2**-10)
        return
    assert found.sums is not None
    assert (found.sums[:outputs] == back.sum(axis=1)).all()
    scales = found.scales[:outputs, None]
    assert (np.abs(back * scales - weight) <= scales * 0.5001).all()
    assert (np.abs(back).max(axis=1) == 127).all()


@pytest.mark.parametrize("shape", [*SHAPES, (40, 300)])
def test_int4_rounds_to_the_nearest_level(shape: tuple[int, int]) -> None:
    weight = _random(*shape)
    inputs = shape[1]
    padded = np.pad(weight, ((0, 0), (0, -inputs % 64)))
    levels, factors, scales = quantize_int4(padded)
    steps = np.repeat(factors * scales[:, None], 16, axis=1)
    error = np.abs(levels * steps - padded)
    is_inside = (levels > -8) & (levels < 7)
    assert (error <= np.abs(steps) * 0.5001)[is_inside].all()
    assert (levels[:, inputs:] == 0).all()
    assert np.abs(factors).max(axis=1).tolist() == [127] * shape[0]
    assert np.linalg.norm(error) < 0.08 * np.linalg.norm(weight)


@pytest.mark.parametrize("form", [INT8, INT4])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_weight_that_is_not_finite_shows_in_its_output_alone(bad: float, form: int) -> None:
    weight = _random(4, 64)
    weight[1, 3] = bad
    scales = pack_weight(weight, form).scales
    assert scales is not None
    assert np.isfinite(scales).tolist()[:4] == [True, False, True, True]


@pytest.mark.parametrize("size", [2.0**-33, 2.0**100])
def test_int4_rounds_weights_of_any_size_alike(size: float) -> None:
    weight = _random(16, 64)
    levels, factors, scales = quantize_int4(weight)
    again = quantize_int4(weight * np.float32(size))
    np.testing.assert_array_equal(again[0], levels)
    np.testing.assert_array_equal(again[1], factors)
    np.testing.assert_array_equal(again[2], scales * np.float32(size))


def test_int4_keeps_a_group_of_equal_weights_and_zeros() -> None:
    weight = np.zeros((2, 128), np.float32)
    weight[0, 16:32] = -0.25
    levels, factors, scales = quantize_int4(weight)
    back = levels * np.repeat(factors * scales[:, None], 16, axis=1)
    assert np.allclose(back, weight, rtol=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_description_is_of_what_is_packed(shape: tuple[int, int], form: int) -> None:
    packed = pack_weight(_random(*shape), form)._asdict()
    found = {name: (a.dtype, a.shape) for name, a in packed.items() if a is not None}
    assert describe_parts(*shape, form) == found
