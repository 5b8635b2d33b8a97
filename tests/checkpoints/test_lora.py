"""Adapters made by PEFT itself, merged as PEFT merges them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from musicgen import errors
from musicgen.checkpoints.locate import Source, locate
from musicgen.checkpoints.pack import pack
from musicgen.engine.loading import load_engine
from musicgen.engine.pytorch.loading import load_checkpoint
from musicgen.model.config import MusicGenConfig
from musicgen.settings import Settings
from tests.support import engines, oracle

PROMPT, FRAMES = engines.PROMPTS[0], 24
KINDS: dict[str, dict[str, Any]] = {
    "plain": {"target_modules": ["q_proj", "v_proj"], "r": 4, "lora_alpha": 32},
    "everywhere": {
        "target_modules": [
            *("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2", "enc_to_dec_proj"),
        ],
        "r": 2,
        "lora_alpha": 16,
        "rank_pattern": {"fc1": 5},
        "alpha_pattern": {"fc1": 40, "layers.0.self_attn.q_proj": 8},
    },
    "rank-stabilized": {"target_modules": ["fc2"], "r": 9, "lora_alpha": 6, "use_rslora": True},
    "whole modules": {
        "target_modules": ["q_proj"],
        "r": 2,
        "lora_alpha": 8,
        "modules_to_save": ["lm_heads.0"],
    },
    "embeddings": {"target_modules": ["embed_tokens.0", "embed_tokens.1"], "r": 3, "lora_alpha": 9},
    "text encoder": {"target_modules": ["SelfAttention.q", "DenseReluDense.wo"], "r": 2},
}  # fmt: skip


def _adapter(folder: Path, base: Path, **shape: Any) -> Any:
    """Writes an adapter of random weights; returns transformers' model with it merged."""
    # Imported here: two seconds of every process that only collects this file.
    peft = pytest.importorskip("peft")
    torch.manual_seed(3)
    model = peft.get_peft_model(oracle.load(base), peft.LoraConfig(**shape))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(base)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return model.merge_and_unload().eval()


@pytest.mark.parametrize("name", ["musicgen-small", "musicgen-melody"])
@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_those_of_the_model_that_peft_merges(
    checkpoints: Callable[[str], Path], tmp_path: Path, kind: str, name: str
) -> None:
    base = checkpoints(name)
    merged = _adapter(tmp_path, base, **KINDS[kind])
    source = locate(str(tmp_path))
    assert (source.folder, source.adapter) == (base, tmp_path)
    config = MusicGenConfig.from_folder(base)
    ours = load_checkpoint(base, config, "cpu", "float32", adapter=source.adapter)
    found = engines.codes(ours, [PROMPT], FRAMES, engines.greedy())
    tokenizer = oracle.load_tokenizer(base)
    expected = oracle.greedy_tokens(merged, tokenizer, [PROMPT], FRAMES, 3.0)
    assert torch.equal(found, expected)
    plain = engines.codes(engines.engine(base), [PROMPT], FRAMES, engines.greedy())
    assert not torch.equal(found, plain), "the adapter does something"


def test_both_engines_merge_it(checkpoints: Callable[[str], Path], tmp_path: Path) -> None:
    base = checkpoints("musicgen-small")
    _adapter(tmp_path, base, **KINDS["plain"])
    codes = [
        engines.codes(
            load_engine(base, "x", Settings(engine=name, precision="float32"), tmp_path),
            [PROMPT],
            FRAMES,
            engines.greedy(),
        )
        for name in ("musicgen", "transformers")
    ]
    assert torch.equal(*codes)


def test_a_packed_file_has_it_merged(checkpoints: Callable[[str], Path], tmp_path: Path) -> None:
    base = checkpoints("musicgen-small")
    _adapter(tmp_path / "tuned", base, **KINDS["plain"])
    source = locate(str(tmp_path / "tuned"))
    assert source.label == "tuned"
    report = pack(source, "native-float32", tmp_path / "packed")
    assert report.path.name == "tuned.native-float32.packed"
    assert "adapter_model.safetensors" in report.manifest.source_files
    settings = Settings(precision="float32")
    codes = [
        engines.codes(load_engine(*each), [PROMPT], FRAMES, engines.greedy())
        for each in ((report.path, "x", settings), (base, "x", settings, tmp_path / "tuned"))
    ]
    assert torch.equal(*codes)
    with pytest.raises(errors.UnsupportedCheckpoint, match="cannot take an adapter"):
        load_engine(report.path, "x", settings, tmp_path / "tuned")


def test_an_adapter_of_another_model_is_refused(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    _adapter(tmp_path, checkpoints("musicgen-small"), **KINDS["plain"])
    for name, words in (
        ("one-layer", "tensors missing in"),
        ("musicgen-medium", "shape|tensors"),
    ):
        with pytest.raises(errors.CheckpointMismatch, match=words):
            load_engine(checkpoints(name), "x", Settings(), tmp_path)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"peft_type": "OFT"}, errors.UnsupportedAdapter, "merge_and_unload"),
        ({"use_dora": True}, errors.UnsupportedAdapter, "lora_magnitude_vector"),
    ],
)
def test_what_cannot_be_merged_is_said(
    checkpoints: Callable[[str], Path],
    tmp_path: Path,
    change: dict[str, Any],
    error: type[Exception],
    words: str,
) -> None:
    base = checkpoints("musicgen-small")
    _adapter(tmp_path, base, **KINDS["plain"])
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(error, match=words):
        load_checkpoint(base, MusicGenConfig.from_folder(base), "cpu", "float32", adapter=tmp_path)


def test_a_base_that_is_not_here_can_be_named(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    base = checkpoints("musicgen-small")
    _adapter(tmp_path, base, **KINDS["plain"])
    path = tmp_path / "adapter_config.json"
    gone = json.loads(path.read_text()) | {"base_model_name_or_path": "/home/somebody/base"}
    path.write_text(json.dumps(gone))
    with pytest.raises(errors.CheckpointNotFound, match="MUSICGEN_BASE_MODEL"):
        locate(str(tmp_path))
    assert locate(str(tmp_path), base=str(base)).folder == base
    path.write_text("{}")
    with pytest.raises(errors.CheckpointIncomplete, match="names no base model"):
        locate(str(tmp_path))


def test_a_whole_checkpoint_beside_an_adapter_is_the_checkpoint(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    shutil.copytree(checkpoints("musicgen-small"), tmp_path / "both")
    (tmp_path / "both" / "adapter_config.json").write_text("{}")
    source = locate(str(tmp_path / "both"))
    assert isinstance(source, Source) and source.adapter is None
