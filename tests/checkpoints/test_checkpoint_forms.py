"""However a checkpoint is stored, the same model comes out; a damaged one is refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from musicgen import errors
from musicgen.checkpoints.weights import load_model
from musicgen.model.config import MusicGenConfig
from musicgen.model.musicgen import MusicGen
from musicgen.model.tokenizer import load_tokenizer
from tests.support import checkpoints as forms
from tests.support import engines

WEIGHTS = "model.safetensors"
Q_PROJ = "decoder.model.decoder.layers.0.self_attn.q_proj.weight"


def _load(folder: Path) -> MusicGen:
    config = MusicGenConfig.from_folder(folder)
    return load_model(folder, config, torch.device("cpu"), torch.float32)


@pytest.mark.parametrize(
    "form",
    [
        forms.as_sharded_safetensors,
        forms.as_pytorch_bin,
        forms.as_sharded_bin,
        forms.with_legacy_weight_norm,
        forms.with_stored_positions,
        forms.with_spiece_only,
    ],
    ids=lambda form: form.__name__,
)
@pytest.mark.parametrize("name", ["musicgen-small", "musicgen-stereo-melody"])
def test_every_form_gives_the_same_weights(
    checkpoints: Callable[[str], Path],
    tmp_path: Path,
    name: str,
    form: Callable[[Path, Path], None],
) -> None:
    folder = checkpoints(name)
    form(folder, tmp_path / "form")
    expected, actual = engines.model(folder).state_dict(), _load(tmp_path / "form").state_dict()
    assert expected.keys() == actual.keys()
    for key, tensor in expected.items():
        assert torch.equal(actual[key], tensor), key


def test_float16_files_are_widened_exactly(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = checkpoints("musicgen-small")
    forms.as_float16(folder, tmp_path / "half")
    half = _load(tmp_path / "half")
    weight = half.decoder.layers[0].up.weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, engines.model(folder).decoder.layers[0].up.weight.half().float())
    assert all(p.dtype == torch.float32 for p in half.parameters())


def test_both_tokenizers_give_the_same_ids(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = checkpoints("musicgen-small")
    forms.with_spiece_only(folder, tmp_path / "spiece")
    fast, sentencepiece = load_tokenizer(folder), load_tokenizer(tmp_path / "spiece")
    for prompt in [*engines.PROMPTS, "Rock", "  two  spaces ", "drum & bass, 174 bpm!"]:
        assert fast(prompt) == sentencepiece(prompt)
        assert fast(prompt)[-1] == 1


def _damaged(checkpoints: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoints("musicgen-small"), tmp_path / "damaged"))


@pytest.mark.parametrize("name", ["config.json", WEIGHTS])
def test_a_missing_file_is_named(
    checkpoints: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    folder = _damaged(checkpoints, tmp_path)
    forms.without_file(folder, name)
    with pytest.raises(errors.CheckpointIncomplete, match=name):
        _load(folder)


def test_without_any_tokenizer_both_names_are_told(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = _damaged(checkpoints, tmp_path)
    for name in ("tokenizer.json", "spiece.model"):
        forms.without_file(folder, name)
    with pytest.raises(errors.CheckpointIncomplete, match=r"tokenizer\.json.*spiece\.model"):
        load_tokenizer(folder)


def test_a_missing_shard_is_named(checkpoints: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "sharded"
    forms.as_sharded_safetensors(checkpoints("musicgen-small"), folder)
    forms.without_file(folder, "model-00002-of-00003.safetensors")
    with pytest.raises(errors.CheckpointIncomplete, match="model-00002-of-00003"):
        _load(folder)


@pytest.mark.parametrize("keep", [0.0, 0.0001, 0.5, 0.999])
def test_a_truncated_safetensors_file_is_named(
    checkpoints: Callable[[str], Path], tmp_path: Path, keep: float
) -> None:
    folder = _damaged(checkpoints, tmp_path)
    forms.truncate(folder / WEIGHTS, keep=keep)
    with pytest.raises(errors.CheckpointCorrupt, match=r"model\.safetensors.*download it again"):
        _load(folder)


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.999])
def test_a_truncated_bin_file_is_named(
    checkpoints: Callable[[str], Path], tmp_path: Path, keep: float
) -> None:
    forms.as_pytorch_bin(checkpoints("musicgen-small"), tmp_path / "bin")
    forms.truncate(tmp_path / "bin" / "pytorch_model.bin", keep=keep)
    with pytest.raises(errors.CheckpointCorrupt, match=r"pytorch_model\.bin"):
        _load(tmp_path / "bin")


def test_a_pickle_that_runs_code_is_refused(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    forms.as_pytorch_bin(checkpoints("musicgen-small"), tmp_path / "bin")
    marker = tmp_path / "ran"
    torch.save({"x": _Touch(marker)}, tmp_path / "bin" / "pytorch_model.bin")
    with pytest.raises(errors.CheckpointCorrupt):
        _load(tmp_path / "bin")
    assert not marker.exists()


class _Touch:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.marker,)


def test_a_missing_tensor_is_named(checkpoints: Callable[[str], Path], tmp_path: Path) -> None:
    folder = _damaged(checkpoints, tmp_path)
    forms.without_tensor(folder, Q_PROJ)
    with pytest.raises(errors.CheckpointIncomplete, match=Q_PROJ):
        _load(folder)


@pytest.mark.parametrize("name", [Q_PROJ, "enc_to_dec_proj.weight", "text_encoder.shared.weight"])
def test_a_mis_shaped_tensor_is_named_with_both_shapes(
    checkpoints: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    folder = _damaged(checkpoints, tmp_path)
    forms.reshape_tensor(folder, name)
    with pytest.raises(errors.CheckpointMismatch, match=name) as raised:
        _load(folder)
    assert "config.json requires (" in str(raised.value)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("{", errors.CheckpointCorrupt),
        ("[]", errors.CheckpointCorrupt),
        ('{"model_type": "llama"}', errors.UnsupportedCheckpoint),
        ('{"model_type": "musicgen"}', errors.UnsupportedCheckpoint),
    ],
)
def test_a_wrong_config_is_refused(
    checkpoints: Callable[[str], Path],
    tmp_path: Path,
    content: str,
    error: type[errors.CheckpointError],
) -> None:
    folder = _damaged(checkpoints, tmp_path)
    (folder / "config.json").write_text(content)
    with pytest.raises(error):
        _load(folder)


@pytest.mark.parametrize("content", [[1], {1: torch.ones(2)}, {"x": torch.eye(3).to_sparse()}])
def test_a_pickle_without_tensors_by_name_is_corrupt(
    checkpoints: Callable[[str], Path], tmp_path: Path, content: object
) -> None:
    forms.as_pytorch_bin(checkpoints("musicgen-small"), tmp_path / "bin")
    torch.save(content, tmp_path / "bin" / "pytorch_model.bin")
    with pytest.raises(errors.CheckpointCorrupt, match="holds no weights by name"):
        _load(tmp_path / "bin")


@pytest.mark.parametrize("part", [{"normalize": True}, {"norm_type": "time_group_norm"}])
def test_an_unknown_codec_is_unsupported_not_wrong(
    checkpoints: Callable[[str], Path], tmp_path: Path, part: dict[str, object]
) -> None:
    folder = _damaged(checkpoints, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["audio_encoder"] |= part
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(errors.UnsupportedCheckpoint, match=next(iter(part))):
        _load(folder)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("decoder", {"audio_channels": 1}),
        ("audio_encoder", {"codebook_size": 32}),
        ("decoder", {"num_codebooks": 10}),
    ],
)
def test_a_decoder_and_a_codec_that_do_not_fit_are_refused(
    checkpoints: Callable[[str], Path], part: str, change: dict[str, object]
) -> None:
    """Guards eight codebooks that are called mono: they would fail at the first sound."""
    folder = checkpoints("musicgen-stereo-small")
    config = json.loads((folder / "config.json").read_text())
    MusicGenConfig.from_json(config, {}, folder)
    config[part] |= change
    with pytest.raises(errors.UnsupportedCheckpoint, match=r"but the codec has 4 of"):
        MusicGenConfig.from_json(config, {}, folder)
