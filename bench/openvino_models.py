"""OpenVINO's contestants: the same weights, converted by its own tools.

The step is a stateful model: OpenVINO keeps the KV cache. Its int8 and int4 forms have the weights
compressed by NNCF, with OpenVINO's default of 8-bit activations at run time and its own form of the
cache. int4 has one scale for each 64 inputs, and NNCF leaves the logits in int8.
Converted models are kept beside the checkpoint, because the conversion takes a minute.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.step_graph import (
    LONGEST,
    ROWS,
    Array,
    CodecGraph,
    Step,
    StepGraph,
    Subject,
    build_example,
    name_caches,
    name_inputs,
    name_outputs,
)

Properties = dict[str, Any]
_INT4_GROUP = 64


def load_step(
    folder: Path, subject: Subject, precision: str, threads: int
) -> tuple[Step, Properties]:
    """Convert or read the step and compile it.

    Returns: the step, and the properties that OpenVINO chose.
    """
    import openvino as ov

    path = folder / f"openvino-{ov.__version__.split('-')[0]}-step-{precision}.xml"
    if not path.exists():
        _save(_convert_step(subject, precision), path, precision)
    compiled = _compile(path, precision, threads)
    request = compiled.create_infer_request()
    names = name_caches("cross", len(subject.cross))
    for name, tensor in zip(names, (t for pair in subject.cross for t in pair), strict=True):
        request.set_tensor(name, ov.Tensor(np.ascontiguousarray(tensor.numpy())))

    def step(tokens: Array, position: int) -> Array:
        if position == 0:
            request.reset_state()
        request.infer({"tokens": tokens, "position": np.array([position])}, share_inputs=True)
        return np.array(request.get_tensor("logits").data)

    return step, _describe(compiled)


def load_codec(
    folder: Path, codec: torch.nn.Module, precision: str, threads: int
) -> Callable[[Array], Array]:
    """Return a function from codes (codebooks, frames) to samples; one model for each length."""
    import openvino as ov

    compiled: dict[int, Any] = {}

    def decode(codes: Array) -> Array:
        frames = codes.shape[1]
        if frames not in compiled:
            graph = CodecGraph(codec)
            with torch.inference_mode():
                model = ov.convert_model(graph, example_input=torch.from_numpy(codes))
            model.reshape(list(codes.shape))
            compiled[frames] = _compile(model, precision, threads).create_infer_request()
        return np.array(compiled[frames].infer([codes], share_inputs=True)[0])

    return decode


def _convert_step(subject: Subject, precision: str) -> Any:
    import openvino as ov
    from openvino._offline_transformations import apply_make_stateful_transformation

    config = subject.decoder.config
    with torch.inference_mode():
        model = ov.convert_model(
            StepGraph(subject.decoder, LONGEST), example_input=build_example(subject)
        )
    for port, name in zip(model.inputs, name_inputs(config.layers), strict=True):
        port.get_tensor().set_names({name})
        port.node.set_friendly_name(name)
    for port, name in zip(model.outputs, name_outputs(config.layers), strict=True):
        port.get_tensor().set_names({name})
    shape = [ROWS, config.heads, -1, config.head_dim]
    shapes: dict[Any, list[int]] = {"tokens": [config.codebooks], "position": [1]}
    shapes |= dict.fromkeys(name_caches("past", config.layers), shape)
    shapes |= {
        name: list(subject.cross[0][0].shape) for name in name_caches("cross", config.layers)
    }
    model.reshape(shapes)
    past, present = name_caches("past", config.layers), name_caches("present", config.layers)
    apply_make_stateful_transformation(model, dict(zip(past, present, strict=True)))
    if precision == "int8":
        import nncf

        model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
    if precision == "int4":
        import nncf

        # Every layer but the last, as here.
        mode = nncf.CompressWeightsMode.INT4_SYM
        model = nncf.compress_weights(model, mode=mode, group_size=_INT4_GROUP, ratio=1.0)
    return model


def _save(model: Any, path: Path, precision: str) -> None:
    import openvino as ov

    # Renamed when whole, the weights first: an interrupted conversion leaves no model.
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        partial = Path(scratch) / path.name
        ov.save_model(model, partial, compress_to_fp16=precision == "bfloat16")
        for suffix in (".bin", ".xml"):
            partial.with_suffix(suffix).rename(path.with_suffix(suffix))


def _compile(model: Any, precision: str, threads: int) -> Any:
    import openvino as ov

    settings: Properties = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": "1",
    }
    if precision in ("float32", "bfloat16"):
        settings["INFERENCE_PRECISION_HINT"] = {"float32": "f32", "bfloat16": "bf16"}[precision]
    if precision == "float32":
        settings |= {"KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    return ov.Core().compile_model(model, "CPU", settings)


def _describe(compiled: Any) -> Properties:
    names = (
        "INFERENCE_PRECISION_HINT",
        "KV_CACHE_PRECISION",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE",
        "INFERENCE_NUM_THREADS",
        "NUM_STREAMS",
    )
    return {name: str(compiled.get_property(name)) for name in names}
