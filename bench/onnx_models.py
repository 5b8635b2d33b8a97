"""ONNX Runtime's contestants: the same weights in its own operators.

Self-attention is `GroupQueryAttention` over one buffer, into which it writes in place; exporters of
language models for ONNX Runtime use it too. The int8 and int4 forms have `MatMulNBits` of 8 and 4
bits, one scale for each block of 128 inputs, and 8-bit activations (`accuracy_level` 4). Written
models are kept beside the checkpoint.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
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
    Subject,
    name_caches,
    name_outputs,
)
from musicgen.model.decoder import build_sinusoidal_positions

BLOCK = 128
BITS = {"int8": 8, "int4": 4}
MICROSOFT = "com.microsoft"
OPSET = 20
_PARTS = ("key", "value")
Properties = dict[str, Any]


def load_step(
    folder: Path, subject: Subject, precision: str, threads: int
) -> tuple[Step, Properties]:
    """Write or find the step's model and open it. Returns: the step, and the session's settings."""
    import onnxruntime as ort

    whole = folder / f"onnxruntime-{ort.__version__}-step-{precision}"
    if not whole.exists():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            partial = Path(scratch) / "model"
            partial.mkdir()
            _write_step(subject, precision, partial / "step.onnx")
            partial.rename(whole)
    session = _open(whole / "step.onnx", threads)
    binding, tokens, position, seen, total = _bind(session, subject)

    def step(column: Array, index: int) -> Array:
        tokens[:], position[:], seen[:], total[...] = column, index, index, index + 1
        session.run_with_iobinding(binding)
        return np.array(binding.get_outputs()[0].numpy())

    return step, {"threads": threads, "block": BLOCK if precision in BITS else None}


def load_codec(
    folder: Path, codec: torch.nn.Module, precision: str, threads: int
) -> Callable[[Array], Array]:
    """Return a function from codes (codebooks, frames) to samples; one model for each length.

    The codec is float32 for every form of the step.
    """
    sessions: dict[int, Any] = {}

    def decode(codes: Array) -> Array:
        frames = codes.shape[1]
        if frames not in sessions:
            with tempfile.TemporaryDirectory() as scratch, torch.inference_mode():
                file = Path(scratch) / "codec.onnx"
                example = (torch.from_numpy(codes),)
                torch.onnx.export(
                    CodecGraph(codec), example, file, input_names=["codes"], dynamo=False
                )
                sessions[frames] = _open(file, threads)
        return sessions[frames].run(None, {"codes": codes})[0]

    return decode


def _open(file: Path, threads: int) -> Any:
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    return ort.InferenceSession(str(file), settings, providers=["CPUExecutionProvider"])


def _bind(session: Any, subject: Subject) -> tuple[Any, Array, Array, Array, Array]:
    """Bind all inputs and outputs to fixed memory. Returns: the binding, and the small inputs."""
    import onnxruntime as ort

    config, binding = subject.decoder.config, session.io_binding()
    small = {
        "tokens": np.zeros(config.codebooks, np.int64),
        "position": np.zeros(1, np.int64),
        "seen": np.zeros(ROWS, np.int32),
        "total": np.zeros((), np.int32),
    }
    held = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in small.items()}
    names = name_caches("cross", config.layers)
    for name, tensor in zip(names, (t for pair in subject.cross for t in pair), strict=True):
        array = np.ascontiguousarray(tensor.numpy())
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
    past, present = (name_caches(kind, config.layers) for kind in ("past", "present"))
    binding.bind_output("logits")
    for source, target in zip(past, present, strict=True):
        empty = np.zeros((ROWS, config.heads, LONGEST, config.head_dim), np.float32)
        value = ort.OrtValue.ortvalue_from_numpy(empty)
        binding.bind_ortvalue_input(source, value)
        binding.bind_ortvalue_output(target, value)
    for name, value in held.items():
        binding.bind_ortvalue_input(name, value)
    views = list(small.values())  # A session reads the memory of these arrays.
    return binding, *views


class StepWriter:
    """Nodes and weights of the step's model."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._nodes: list[Any] = []
        self._weights: list[Any] = []
        self._values = 0

    def build(self) -> Any:
        """Return the ONNX model."""
        from onnx import TensorProto, helper

        config, decoder = self._subject.decoder.config, self._subject.decoder
        x = self._embed()
        for index in range(config.layers):
            x = self._add_layer(x, index)
        logits = self._multiply(self._normalize(x, decoder.norm), decoder.heads)
        shape = self._constant(np.array([ROWS, config.codebooks, config.vocab_size]))
        self._add("Reshape", [logits, shape], "logits")
        cache: list[int | str] = [ROWS, config.heads, LONGEST, config.head_dim]
        shapes: dict[str, tuple[int, Sequence[int | str]]] = {
            "tokens": (TensorProto.INT64, [config.codebooks]),
            "position": (TensorProto.INT64, [1]),
            "seen": (TensorProto.INT32, [ROWS]),
            "total": (TensorProto.INT32, []),
            "logits": (TensorProto.FLOAT, [ROWS, config.codebooks, config.vocab_size]),
        }
        for kind in ("past", "present"):
            shapes |= dict.fromkeys(name_caches(kind, config.layers), (TensorProto.FLOAT, cache))
        cross = list(self._subject.cross[0][0].shape)
        shapes |= dict.fromkeys(name_caches("cross", config.layers), (TensorProto.FLOAT, cross))
        outputs = name_outputs(config.layers)
        infos = {
            name: helper.make_tensor_value_info(name, kind, sizes)
            for name, (kind, sizes) in shapes.items()
        }
        graph = helper.make_graph(
            self._nodes,
            "step",
            [info for name, info in infos.items() if name not in outputs],
            [infos[name] for name in outputs],
            self._weights,
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def _embed(self) -> str:
        config, decoder = self._subject.decoder.config, self._subject.decoder
        offsets = np.arange(config.codebooks) * (config.vocab_size + 1)
        index = self._add("Add", ["tokens", self._constant(offsets)])
        vectors = self._add("Gather", [self._constant(decoder.embeddings.numpy()), index])
        x = self._add("ReduceSum", [vectors, self._constant(np.array([0]))], keepdims=1)
        table = build_sinusoidal_positions(LONGEST, config.hidden_size).numpy()
        x = self._add("Add", [x, self._add("Gather", [self._constant(table), "position"])])
        shape = self._constant(np.array([ROWS, 1, config.hidden_size]))
        return self._add("Expand", [x, shape])

    def _add_layer(self, x: str, index: int) -> str:
        layer, heads = self._subject.decoder.layers[index], self._subject.decoder.config.heads
        qkv = self._multiply(
            self._normalize(x, layer.self_attention_norm), layer.self_attention.qkv
        )
        names = [f"{kind}_{part}_{index}" for kind in ("past", "present") for part in _PARTS]
        mixed = self._name()
        self._append(
            "GroupQueryAttention",
            [qkv, "", "", *names[:2], "seen", "total"],
            [mixed, *names[2:]],
            num_heads=heads,
            kv_num_heads=heads,
        )
        x = self._add("Add", [x, self._multiply(mixed, layer.self_attention.out)])
        prompted, other = self._name(), self._name()
        self._append("Split", [x], [prompted, other], domain="", axis=0, num_outputs=ROWS)
        block = layer.cross_attention
        query = self._multiply(self._normalize(prompted, layer.cross_attention_norm), block.query)
        mixed = self._name()
        cross = [f"cross_{part}_{index}" for part in _PARTS]
        self._append("MultiHeadAttention", [query, *cross], [mixed], num_heads=heads)
        prompted = self._add("Add", [prompted, self._multiply(mixed, block.out)])
        x = self._add("Concat", [prompted, other], axis=0)
        up = self._multiply(self._normalize(x, layer.ffn_norm), layer.up)
        return self._add("Add", [x, self._multiply(self._add("Gelu", [up]), layer.down)])

    def _normalize(self, x: str, norm: torch.nn.LayerNorm) -> str:
        parts = [self._constant(tensor.numpy()) for tensor in (norm.weight, norm.bias)]
        return self._add("LayerNormalization", [x, *parts], axis=-1, epsilon=norm.eps)

    def _multiply(self, x: str, linear: Any) -> str:
        weight = np.ascontiguousarray(linear.weight.numpy().T)
        return self._add("MatMul", [x, self._constant(weight)])

    def _constant(self, array: Array) -> str:
        from onnx import numpy_helper

        name = f"weight_{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def _name(self) -> str:
        self._values += 1
        return f"value_{self._values}"

    def _add(self, kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        output = output or self._name()
        self._append(kind, inputs, [output], domain="", **attributes)
        return output

    def _append(
        self,
        kind: str,
        inputs: list[str],
        outputs: list[str],
        domain: str = MICROSOFT,
        **attributes: Any,
    ) -> None:
        from onnx import helper

        name = f"{kind}_{len(self._nodes)}"
        node = helper.make_node(kind, inputs, outputs, name=name, domain=domain, **attributes)
        self._nodes.append(node)


def _write_step(subject: Subject, precision: str, path: Path) -> None:
    import onnx

    with torch.inference_mode():
        model = StepWriter(subject).build()
    if precision in BITS:
        from onnxruntime.quantization.matmul_nbits_quantizer import (
            DefaultWeightOnlyQuantConfig,
            MatMulNBitsQuantizer,
        )

        config = DefaultWeightOnlyQuantConfig(
            block_size=BLOCK, is_symmetric=True, accuracy_level=4, bits=BITS[precision]
        )
        quantizer = MatMulNBitsQuantizer(model, algo_config=config)
        quantizer.process()
        model = quantizer.model.model
    onnx.save(model, path, save_as_external_data=True, location="step.bin")
