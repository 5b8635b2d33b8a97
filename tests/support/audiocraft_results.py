"""Results of audiocraft on the toy runs, as `tests/support/audiocraft_golden.py` wrote them."""

from __future__ import annotations

import functools
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.support import audiocraft as toy
from tests.support.audiocraft_cases import CASES

_DATA = Path(__file__).parents[1] / "data" / "audiocraft"


@functools.cache
def read_results() -> dict[str, Any]:
    """All results: version, settings of audiocraft, and the cases by name."""
    return json.loads(gzip.decompress((_DATA / "golden.json.gz").read_bytes()))


def read_array(name: str) -> np.ndarray:
    """An array of `waveforms.npz`."""
    with np.load(_DATA / "waveforms.npz") as arrays:
        return arrays[name]


def write_case(name: str, folder: Path) -> None:
    """Write the files of a case as audiocraft exports them."""
    case = CASES[name]
    language_model, codec = (
        toy.draw_weights(_read_shapes(name, kind)) for kind in ("language_model", "codec")
    )
    toy.write_files(
        folder,
        (toy.language_model_settings(case.language_model), language_model),
        (toy.codec_settings(case.codec), codec),
    )


def _read_shapes(name: str, kind: str) -> dict[str, list[int]]:
    cases = read_results()["cases"]
    # What audiocraft cannot build has the tensors of the first case: it is refused before.
    shapes = cases["base"][kind] | (cases[name].get(kind) or {})
    return {tensor: shape for tensor, shape in shapes.items() if shape is not None}
