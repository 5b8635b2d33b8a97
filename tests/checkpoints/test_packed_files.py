"""Reading a packed file: the same tokens as its checkpoint, and nothing damaged is loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from musicgen.checkpoints.packed import select
from musicgen.checkpoints.packed.format import (
    FORMS,
    SUMS,
    check_hashes,
    precision_of,
    read_header,
)
from musicgen.checkpoints.packed.layouts import load_packed
from musicgen.checkpoints.packed.reader import PackFile
from musicgen.engine.engine import MusicGenEngine
from musicgen.engine.loading import load_engine
from musicgen.engine.pytorch.loading import build_engine
from musicgen.errors import (
    CheckpointCorrupt,
    CheckpointError,
    CheckpointIncomplete,
    CheckpointMismatch,
    SettingsError,
)
from musicgen.model.config import MusicGenConfig
from musicgen.model.native import step_file
from musicgen.model.native.library import load_library
from musicgen.model.tokenizer import build_tokenizer
from musicgen.request import SamplingParams
from musicgen.settings import Settings
from tests.support import engines, oracle
from tests.support.packs import pack_folder

VARIED = ["musicgen-small", "musicgen-stereo-medium", "musicgen-melody", "three-codebooks"]
SAMPLED = SamplingParams(1.0, 20, 0.0, 3.0)
native = pytest.mark.skipif(load_library() is None, reason="the native step was not compiled here")


def test_a_native_file_without_the_native_step_says_so(
    checkpoints: Callable[[str], Path],
    packed: Callable[[str, str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Guards against a refusal of `native-int8` in images without a compiler, without a reason."""
    file = packed("musicgen-small", "native-int8")
    monkeypatch.setattr(step_file, "_find_level", lambda: "not compiled")
    with pytest.raises(CheckpointMismatch, match=r"without the native step, none \(not compiled\)"):
        select.open_packed(file, "cpu", "auto", None)


def test_a_library_that_cannot_be_loaded_is_no_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout's library is copied to other machines, some with an older libstdc++."""
    (tmp_path / "_step.so").write_bytes(b"no library")
    monkeypatch.setattr(step_file, "__file__", str(tmp_path / "step_file.py"))
    monkeypatch.setattr(step_file.platform, "machine", lambda: "x86_64")
    found = step_file._find_level.__wrapped__()
    assert isinstance(found, str) and found.startswith("cannot be loaded")


@pytest.mark.parametrize(
    ("machine", "name"), [("x86_64", "AVX2"), ("aarch64", "NEON"), ("arm64", "NEON")]
)
def test_each_kind_of_processor_has_names_for_its_levels(
    monkeypatch: pytest.MonkeyPatch, machine: str, name: str
) -> None:
    monkeypatch.setattr(step_file.platform, "machine", lambda: machine)
    assert step_file.name_level(1) == name
    monkeypatch.setattr(step_file.platform, "machine", lambda: "riscv64")
    assert "riscv64" in str(step_file._find_level.__wrapped__())


@native
@pytest.mark.parametrize("name", VARIED)
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_a_packed_model_makes_the_tokens_of_its_checkpoint(
    checkpoints: Callable[[str], Path],
    packed: Callable[[str, str], Path],
    name: str,
    precision: str,
) -> None:
    """Sampled, with guidance; the native codec rounds its weights to 16 bits."""
    engine = load_engine(packed(name, f"native-{precision}"), name, Settings(precision=precision))
    wanted = engines.engine(checkpoints(name), precision)
    assert isinstance(engine, MusicGenEngine)
    for prompt in engines.PROMPTS:
        found, known = (
            engines.run(each, engines.GenerationJob((engines.Row(prompt, 5, SAMPLED),), 30))
            for each in (engine, wanted)
        )
        assert (found.codes == known.codes).all()
        assert abs(found.pcm[0] - known.pcm[0]).max() < 0.01


@pytest.mark.parametrize("name", VARIED)
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_rounded_weights_give_transformers_tokens(
    checkpoints: Callable[[str], Path], tmp_path: Path, name: str, guidance: float
) -> None:
    """Of a checkpoint whose weights are bfloat16 already, the 16-bit pack loses nothing."""
    folder = tmp_path / name
    shutil.copytree(checkpoints(name), folder)
    weights = load_file(folder / "model.safetensors")
    rounded = {key: value.bfloat16().float() for key, value in weights.items()}
    save_file(rounded, folder / "model.safetensors", metadata={"format": "pt"})
    opened = PackFile(pack_folder(folder, "plain-bfloat16", tmp_path).path)
    config = MusicGenConfig.from_folder(folder)
    model = load_packed(opened, config, torch.device("cpu"), torch.float32)
    engine = build_engine(model, build_tokenizer(opened.read, folder), "float32")
    known = oracle.load(folder), oracle.load_tokenizer(folder)
    for prompt in engines.PROMPTS:
        wanted = oracle.greedy_tokens(*known, [prompt], 24, guidance)
        assert torch.equal(engines.codes(engine, [prompt], 24, engines.greedy(guidance)), wanted)


def test_a_packed_file_is_a_safetensors_file(packed: Callable[[str, str], Path]) -> None:
    path = packed("musicgen-small", "plain-bfloat16")
    layout, manifest = read_header(path)
    with safe_open(str(path), framework="pt") as file:
        assert set(file.keys()) == set(layout.places)
        assert json.loads(file.metadata()["musicgen"])["form"] == manifest.form == "plain-bfloat16"
        assert file.get_tensor("decoder.heads.weight").dtype == torch.bfloat16
    assert layout.header_bytes % 4096 == 0
    for start, shape in layout.places.values():
        assert start % {"I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2}.get(shape.dtype, 1) == 0


@pytest.mark.parametrize("form", ["native-int8", "plain-bfloat16"])
def test_a_flipped_bit_is_found_wherever_it_is(
    packed: Callable[[str, str], Path], tmp_path: Path, form: str
) -> None:
    """In any tensor, the small files and the sums, by what every load does."""
    whole = packed("musicgen-small", form).read_bytes()
    layout, _ = read_header(packed("musicgen-small", form))
    path = tmp_path / "damaged.packed"
    for name, (start, shape) in layout.places.items():
        damaged = bytearray(whole)
        damaged[start + shape.bytes // 2] ^= 16
        path.write_bytes(damaged)
        with pytest.raises(CheckpointCorrupt, match=r"damaged\.packed is damaged .* pack or down"):
            PackFile(path).check()
        if name != SUMS:
            with pytest.raises(CheckpointCorrupt, match=r"packed: .* differs from its hash"):
                check_hashes(path)


def test_a_flipped_bit_in_the_header_is_refused_or_does_no_harm(
    packed: Callable[[str, str], Path], tmp_path: Path
) -> None:
    source = packed("musicgen-small", "native-int8")
    whole, path = source.read_bytes(), tmp_path / "damaged.packed"
    layout, known = read_header(source)
    refused = 0
    for at in range(0, layout.header_bytes, max(1, layout.header_bytes // 300)):
        damaged = bytearray(whole)
        damaged[at] ^= 4
        path.write_bytes(damaged)
        try:
            found, manifest = read_header(path)
            check_hashes(path)
        except CheckpointError:
            refused += 1
            continue
        assert found.places == layout.places and manifest.sha256 == known.sha256
    assert refused > 200


@pytest.mark.parametrize("kept", [0, 5, 1000, 0.5, 0.999])
def test_a_truncated_file_is_refused(
    packed: Callable[[str, str], Path], tmp_path: Path, kept: float
) -> None:
    whole = packed("musicgen-small", "native-int8").read_bytes()
    path = tmp_path / "short.packed"
    path.write_bytes(whole[: int(kept * len(whole)) if 0 < kept < 1 else int(kept)])
    with pytest.raises((CheckpointIncomplete, CheckpointCorrupt), match=r"short\.packed .*again"):
        load_engine(path, "short", Settings())


def test_another_revision_is_refused(packed: Callable[[str, str], Path]) -> None:
    path = packed("musicgen-small", "plain-float32")
    with pytest.raises(CheckpointMismatch, match=r"revision None .*not from abc"):
        load_engine(path, "small", Settings(precision="float32", revision="abc"))


@native
def test_a_form_that_does_not_go_with_the_precision_is_refused(
    packed: Callable[[str, str], Path], checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    """Beside a checkpoint it is passed over instead."""
    path = packed("musicgen-small", "native-int8")
    with pytest.raises(CheckpointMismatch, match=r"packed as native-int8.*--form native-float32"):
        load_engine(path, "small", Settings(precision="float32"))
    folder = tmp_path / "both"
    shutil.copytree(checkpoints("musicgen-small"), folder)
    shutil.copy(path, folder)
    engine = load_engine(folder, "small", Settings(precision="float32"))
    assert engine.precision == "float32"
    assert load_engine(folder, "small", Settings()).precision == "int8"


@native
@pytest.mark.parametrize("form", FORMS)
def test_auto_is_the_precision_that_was_packed(
    packed: Callable[[str, str], Path], form: str
) -> None:
    engine = load_engine(packed("musicgen-small", form), "small", Settings())
    assert engine.precision == (precision_of(form) if form.startswith("native") else "int8")


def test_a_packed_file_needs_our_engine(packed: Callable[[str, str], Path]) -> None:
    with pytest.raises(SettingsError, match="MUSICGEN_ENGINE"):
        load_engine(packed("musicgen-small", "plain-float32"), "s", Settings(engine="transformers"))
