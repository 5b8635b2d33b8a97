"""A small model in ONNX with the inputs and outputs of an exported Demucs: filters as stems."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SEGMENT = 11_025
TAPS = 65


def write_model(path: Path, stems: int = 4, channels: int = 2, segment: int = SEGMENT) -> Path:
    """Write a model whose stem i is band i of the sound; the bands together are the sound."""
    edges = np.linspace(0, 0.5, stems + 1)[1:-1]
    lows = [_build_low_pass(edge) for edge in edges] + [_build_impulse()]
    bands = np.diff(np.stack([np.zeros(TAPS), *lows]), axis=0)
    weights = np.zeros((stems * channels, channels, TAPS), np.float32)
    for stem in range(stems):
        for side in range(channels):
            weights[stem * channels + side, side] = bands[stem]
    given = helper.make_tensor_value_info("mix", TensorProto.FLOAT, [1, channels, segment])
    shape = [1, stems, channels, segment]
    made = helper.make_tensor_value_info("stems", TensorProto.FLOAT, shape)
    pads = [TAPS // 2, TAPS // 2]
    nodes = [
        helper.make_node("Conv", ["mix", "weights"], ["bands"], pads=pads),
        helper.make_node("Reshape", ["bands", "shape"], ["stems"]),
    ]
    constants = [
        numpy_helper.from_array(weights, "weights"),
        numpy_helper.from_array(np.array(shape, np.int64), "shape"),
    ]
    graph = helper.make_graph(nodes, "bands", [given], [made], constants)
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def _build_low_pass(edge: float) -> np.ndarray:
    time = np.arange(TAPS) - TAPS // 2
    return np.asarray(2 * edge * np.sinc(2 * edge * time) * np.hanning(TAPS))


def _build_impulse() -> np.ndarray:
    impulse = np.zeros(TAPS)
    impulse[TAPS // 2] = 1
    return impulse
