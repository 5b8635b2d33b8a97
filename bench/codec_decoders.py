"""Decoders of `bench/codec.py`: each a function from codes (codebooks, frames) to mono samples."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musicgen.checkpoints.weights import load_model
from musicgen.engine.pytorch.cuda.codec import PieceGraph
from musicgen.engine.pytorch.loading import join_recurrent_weights
from musicgen.model.codec_stream import CodecStream, decode_in_pieces
from musicgen.model.config import MusicGenConfig
from musicgen.model.encodec import Codec

STREAM_STEPS = 25
"""Half a second of audio per piece of a stream."""
PROMPT = "an upbeat melody with drums and bass"
Array = NDArray[Any]
Decode = Callable[[Array], Array]


def is_exact(name: str) -> bool:
    """Return whether a decoder computes in float32 throughout."""
    return "int16" not in name and "bfloat16" not in name


def load_decoder(name: str, folder: Path, device: str, threads: int) -> Decode | None:
    """Load the decoder `name`; None if this build has none of that name."""
    kind, _, form = name.partition(" ")
    if name == "transformers":
        return _load_transformers(folder, device)
    if kind == "native":
        return _load_native(folder, form)
    config = MusicGenConfig.from_folder(folder)
    model = load_model(folder, config, torch.device(device), torch.float32)
    if device != "cpu":
        join_recurrent_weights(model)  # as the engine does
    codec = model.codec
    if kind == "openvino":
        from bench.openvino_models import load_codec

        return load_codec(folder, codec, form, threads)
    if kind == "onnxruntime":
        from bench.onnx_models import load_codec

        return load_codec(folder, codec, form, threads)
    decoders: dict[str, Callable[[Tensor], Tensor]] = {
        "musicgen": lambda codes: decode_in_pieces(codec, codes, 1)[0],
        "at once": lambda codes: codec.decode(codes[None])[0, 0],
        "stream": lambda codes: _decode_stream(CodecStream(codec, 1), codes),
        "stream graph": _load_stream_graph(codec, config, device),
    }
    decode = decoders[name]
    return lambda codes: decode(torch.from_numpy(codes).to(device)).cpu().numpy()


def _load_stream_graph(
    codec: Codec, config: MusicGenConfig, device: str
) -> Callable[[Tensor], Tensor]:
    """Return the stream whose steady pieces are a CUDA graph, on a GPU."""
    books = config.decoder.codebooks // config.channels
    graph = PieceGraph(codec, books, STREAM_STEPS, capture=device != "cpu")
    return lambda codes: _decode_stream(CodecStream(codec, 1, graph.push), codes)


def _decode_stream(stream: CodecStream, codes: Tensor) -> Tensor:
    parts = codes.split(STREAM_STEPS, dim=1)
    return torch.cat(
        [stream.push(part, last=i == len(parts) - 1)[0] for i, part in enumerate(parts)]
    )


def _load_transformers(folder: Path, device: str) -> Decode:
    from transformers import MusicgenForConditionalGeneration

    peer = MusicgenForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    encodec = peer.audio_encoder.to(device).eval()

    def decode(codes: Array) -> Array:
        tensor = torch.from_numpy(codes)[None, None].to(device)
        samples: Array = encodec.decode(tensor, [None]).audio_values[0, 0].cpu().numpy()
        return samples

    return decode


def _load_native(folder: Path, form: str) -> Decode | None:
    """Load the native library's codec; `form` is that of its weights, after "stream" if so."""
    if find_spec("musicgen.model.native.codec") is None:
        return None
    from musicgen.model.native import codec_forms
    from musicgen.model.native.codec import NativeCodec
    from musicgen.model.native.library import load_library

    library = load_library()
    if library is None:
        return None
    config = MusicGenConfig.from_folder(folder)
    model = load_model(folder, config, torch.device("cpu"), torch.float32)
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    is_stream, weights = form.startswith("stream"), form.split()[-1]
    number = {"int16": codec_forms.INT16, "float32": codec_forms.FLOAT32}[weights]
    codec = NativeCodec(
        library, config.codec, codec_forms.pack_codec(config.codec, arrays, number), 1
    )
    if not is_stream:
        return lambda codes: np.concatenate(list(codec.decode(codes)))[:, 0]

    def decode(codes: Array) -> Array:
        stream, frames = codec.open_stream(), codes.shape[1]
        starts = range(0, frames, STREAM_STEPS)
        parts = [
            stream.push(codes[:, start : start + STREAM_STEPS], start + STREAM_STEPS >= frames)
            for start in starts
        ]
        return np.concatenate(parts)[:, 0]

    return decode


def compose_demo_codes(seconds: float) -> tuple[Path, Array]:
    """Return the demo's folder, and codes (codebooks, frames) of a clip composed by the demo."""
    from musicgen.checkpoints.locate import locate
    from musicgen.engine.interface import GenerationJob, Row, run_to_end
    from musicgen.engine.pytorch.loading import load_checkpoint
    from musicgen.request import SamplingParams

    folder = locate("demo").folder
    config = MusicGenConfig.from_folder(folder)
    engine = load_checkpoint(folder, config, "cpu", "float32")
    row = Row(PROMPT, 0, SamplingParams(1.0, 250, 0.0, 3.0))
    output = run_to_end(engine.generate(GenerationJob((row,), round(seconds * config.frame_rate))))
    engine.close()
    codes: Array = np.asarray(output.codes)
    return folder, np.ascontiguousarray(
        codes.reshape(-1, codes.shape[-1])[: config.codec.codebooks]
    )
