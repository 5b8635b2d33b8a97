"""The engine on a GPU: the same tokens as on the processor, in float32; sane ones in bfloat16."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from musicgen.checkpoints.locate import locate
from musicgen.checkpoints.pack import pack
from musicgen.checkpoints.packed.staging import Staging
from musicgen.engine.engine import MusicGenEngine
from musicgen.engine.interface import GenerationJob, Row
from musicgen.engine.loading import load_engine
from musicgen.engine.pytorch.cuda.graphs import SlotRunner
from musicgen.engine.pytorch.cuda.kernels.choice import OVERLAP_CAPABILITY
from musicgen.engine.pytorch.cuda.kernels.options import KernelOptions
from musicgen.engine.pytorch.cuda.launch import NO_GRAPHS, LaunchOptions
from musicgen.engine.pytorch.loading import build_engine, load_checkpoint
from musicgen.model.config import MusicGenConfig
from musicgen.process.resources import free_memory
from musicgen.request import SamplingParams
from musicgen.settings import Settings
from tests.support import engines
from tests.support.checkpoints import FAMILIES

pytestmark = pytest.mark.gpu
SAMPLED = SamplingParams(temperature=1.0, top_k=30, guidance=3.0)


def _cuda(
    folder: Path,
    precision: str,
    *,
    kernels: KernelOptions | None = None,
    launch: LaunchOptions = NO_GRAPHS,
) -> MusicGenEngine:
    config = MusicGenConfig.from_folder(folder)
    return load_checkpoint(folder, config, "cuda:0", precision, kernels=kernels, launch=launch)


@pytest.fixture(autouse=True)
def _exact_products() -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


@pytest.mark.parametrize("name", FAMILIES)
def test_float32_tokens_equal_the_processor_s(
    checkpoints: Callable[[str], Path], name: str
) -> None:
    """Greedy and sampled: the random numbers are drawn on the processor for every device."""
    folder = checkpoints(name)
    for sampling in (engines.greedy(), SAMPLED):
        expected = engines.codes(
            engines.engine(folder), engines.PROMPTS, 30, sampling, seeds=[1, 2]
        )
        actual = engines.codes(
            _cuda(folder, "float32"), engines.PROMPTS, 30, sampling, seeds=[1, 2]
        )
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_bfloat16_repeats_itself(checkpoints: Callable[[str], Path], name: str) -> None:
    engine = _cuda(checkpoints(name), "bfloat16")
    first, again = (engines.codes(engine, ["piano"], 30, SAMPLED, seeds=[5]) for _ in range(2))
    assert torch.equal(first, again)
    assert first.unique().numel() > 10


def test_a_packed_file_gives_the_checkpoint_s_tokens(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    """Its weights go through pinned buffers, smaller here than some of them."""
    folder = checkpoints("musicgen-small")
    path = pack(locate(str(folder)), "plain-float32", tmp_path).path
    settings = Settings(device="cuda", precision="float32")
    found = engines.codes(load_engine(path, "small", settings), ["piano"], 30, SAMPLED, seeds=[5])
    wanted = engines.codes(_cuda(folder, "float32"), ["piano"], 30, SAMPLED, seeds=[5])
    assert torch.equal(found, wanted)


def test_the_codec_reads_its_weights_where_they_are(checkpoints: Callable[[str], Path]) -> None:
    """cuDNN warns of an LSTM whose weights it copies at each call."""
    engine = _cuda(checkpoints("musicgen-small"), "float32")
    job = GenerationJob((Row("piano", 1, SAMPLED),), 60, stream=True)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        engines.run(engine, job)
    assert not [str(warning.message) for warning in found if "contiguous" in str(warning.message)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_staged_copies_are_copies(dtype: torch.dtype) -> None:
    staging = Staging(torch.device("cuda:0"), piece_bytes=4096)
    tensors = [torch.randn(size).to(dtype) for size in (1, 1000, 5000, 100_000)]
    copies = [staging.copy(tensor) for tensor in tensors]
    for tensor, copy in zip(tensors, copies, strict=True):
        assert torch.equal(copy.cpu(), tensor)


def test_closing_gives_the_memory_back(checkpoints: Callable[[str], Path]) -> None:
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    engine = _cuda(checkpoints("musicgen-small"), "bfloat16")
    assert torch.cuda.memory_allocated() > before
    engine.close()
    assert torch.cuda.memory_allocated() == before
    free = free_memory("cuda:0")
    assert free is not None and free > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_recorded_steps_draw_the_tokens_of_unrecorded_ones(
    checkpoints: Callable[[str], Path], name: str
) -> None:
    """Eight jobs, so that shapes change while they come and go."""
    recorded = _cuda(checkpoints(name), "float32")
    plain = build_engine(
        engines.model_of(recorded), engines.backend_of(recorded).tokenize, "float32"
    )
    jobs = [
        GenerationJob((Row(engines.PROMPTS[seed % 2], seed, SAMPLED),), 20 + 10 * seed)
        for seed in range(8)
    ]
    with ThreadPoolExecutor(len(jobs)) as callers:
        found = [callers.submit(engines.run, recorded, job) for job in jobs]
        for each, job in zip(found, jobs, strict=True):
            assert np.array_equal(each.result(300).codes, engines.run(plain, job).codes)
    assert isinstance(engines.backend_of(recorded).runner, SlotRunner)
    assert len(engines.backend_of(recorded).runner.graphs), "nothing was recorded"


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("name", ["musicgen-small", "musicgen-stereo-melody"])
def test_triton_kernels_draw_the_tokens_of_pytorch(
    checkpoints: Callable[[str], Path], name: str, overlap: bool
) -> None:
    if overlap and torch.cuda.get_device_capability() < OVERLAP_CAPABILITY:
        pytest.skip("kernels overlap from compute capability 9.0")
    options = KernelOptions(overlap=overlap)
    folder = checkpoints(name)
    job = GenerationJob((Row("piano", 1, SAMPLED), Row("drums and bass", 2, SAMPLED)), 30)
    engine = _cuda(folder, "float32", kernels=options)
    slots = engines.backend_of(engine).runner.slots
    assert slots is not None and slots._fused is not None, "the kernels do not run here"
    assert slots._fused.kernels.multiply is not None, "the products do not run here"
    found, wanted = (engines.run(e, job).codes for e in (engine, _cuda(folder, "float32")))
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("name", ["musicgen-small", "musicgen-stereo-melody"])
@pytest.mark.parametrize(
    "launch",
    [
        LaunchOptions(prompt_graphs=True),
        LaunchOptions(codec_graphs=True),
        LaunchOptions(True, True, True),
    ],
    ids=["prompts", "pieces", "all"],
)
def test_captured_prompts_and_pieces_give_the_uncaptured_clip(
    checkpoints: Callable[[str], Path],
    caplog: pytest.LogCaptureFixture,
    name: str,
    launch: LaunchOptions,
) -> None:
    """Eight callers at once, so that pieces of several clips pass through the same buffers."""
    folder = checkpoints(name)
    engine, plain = _cuda(folder, "float32", launch=launch), _cuda(folder, "float32")
    jobs = [
        GenerationJob((Row(engines.PROMPTS[seed % 2], seed, SAMPLED),), 90 + 7 * seed, stream=True)
        for seed in range(8)
    ]
    with ThreadPoolExecutor(len(jobs)) as callers:
        made = [callers.submit(engines.run, engine, job) for job in jobs]
        for each, job in zip(made, jobs, strict=True):
            found, wanted = each.result(300), engines.run(plain, job)
            assert np.array_equal(found.codes, wanted.codes)
            np.testing.assert_allclose(found.pcm[0], wanted.pcm[0], atol=1e-4, rtol=0)
    backend = engines.backend_of(engine)
    assert backend.prompts is None or len(backend.prompts.graphs), "no prompt was captured"
    assert backend.codec.pieces is None or len(backend.codec.pieces.graphs), "no piece"
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_a_codec_stream_of_its_own_gives_the_same_sound(
    checkpoints: Callable[[str], Path],
) -> None:
    """Whole clips and live ones, while other jobs step."""
    folder = checkpoints("musicgen-small")
    launch = LaunchOptions(codec_stream=True)
    engine, plain = _cuda(folder, "float32", launch=launch), _cuda(folder, "float32")
    jobs = [
        GenerationJob((Row("piano", seed, SAMPLED),), 300, stream=bool(seed % 2))
        for seed in range(8)
    ]
    with ThreadPoolExecutor(len(jobs)) as callers:
        made = [callers.submit(engines.run, engine, job) for job in jobs]
        for each, job in zip(made, jobs, strict=True):
            found, wanted = each.result(300), engines.run(plain, job)
            np.testing.assert_allclose(found.pcm[0], wanted.pcm[0], atol=1e-4, rtol=0)
