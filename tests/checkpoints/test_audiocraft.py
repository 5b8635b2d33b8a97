"""Fine-tunes as audiocraft keeps them. Their names were read from audiocraft 1.3, in whose own
modules the same weights give the same logits and the same sound."""

from __future__ import annotations

import contextlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from handlers.cli import main as cli
from musicgen import catalog, errors
from musicgen.checkpoints.audiocraft.configuration import check_text_encoder
from musicgen.checkpoints.audiocraft.convert import convert
from musicgen.checkpoints.audiocraft.language_model import read_language_model
from musicgen.checkpoints.audiocraft.names import rename_codec, rename_language_model
from musicgen.checkpoints.audiocraft.settings import RunSettings
from musicgen.checkpoints.locate import locate
from tests.support import audiocraft as toy
from tests.support import engines, oracle
from tests.support.checkpoints import ALL_SPECS

DECODER = "decoder.model.decoder"
LAYER = {
    "linear1": "fc1",
    "linear2": "fc2",
    "norm1": "self_attn_layer_norm",
    "norm2": "final_layer_norm",
    "norm_cross": "encoder_attn_layer_norm",
    "self_attn.out_proj": "self_attn.out_proj",
    "cross_attention.out_proj": "encoder_attn.out_proj",
}
FUSED = {"self_attn": "self_attn", "cross_attention": "encoder_attn"}


def _audiocraft(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A language model of transformers' under audiocraft's names."""
    made: dict[str, Tensor] = {}
    for name, tensor in state.items():
        for theirs, ours in (
            ("emb.", f"{DECODER}.embed_tokens."),
            ("linears.", "decoder.lm_heads."),
            ("out_norm.", f"{DECODER}.layer_norm."),
            ("condition_provider.conditioners.description.output_proj.", "enc_to_dec_proj."),
            ("condition_provider.conditioners.self_wav.output_proj.", "audio_enc_to_dec_proj."),
        ):
            if name.startswith(ours):
                made[theirs + name.removeprefix(ours)] = tensor
        if not name.startswith(f"{DECODER}.layers."):
            continue
        number, _, part = name.removeprefix(f"{DECODER}.layers.").partition(".")
        for theirs, ours in LAYER.items():
            if part.rpartition(".")[0] == ours:
                kind = part.rpartition(".")[2]
                made[f"transformer.layers.{number}.{theirs}.{kind}"] = tensor
        for theirs, ours in FUSED.items():
            if part == f"{ours}.q_proj.weight":
                parts = [state[name.replace("q_proj", f"{p}_proj")] for p in "qkv"]
                key = f"transformer.layers.{number}.{theirs}.in_proj_weight"
                made[key] = torch.cat(parts)
    return made


@pytest.fixture
def base_of(
    checkpoints: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """A toy checkpoint by name, whose text encoder has a name as in the published ones."""
    folder = tmp_path_factory.mktemp("bases")

    def copy(name: str) -> Path:
        if not (folder / name).exists():
            shutil.copytree(checkpoints(name), folder / name)
            toy.name_text_encoder(folder / name)
        return folder / name

    return copy


def _settings(base: Path, **changes: Any) -> str:
    spec = ALL_SPECS[base.name]
    return json.dumps(toy.language_model_settings(toy.describe(spec) | changes))


def _fine_tune(
    folder: Path, base: Path, *, nested: bool = False, pretrained: bool = True
) -> dict[str, Tensor]:
    """Files of a fine-tune whose weights are those of `base`, a little changed."""
    torch.manual_seed(5)
    state = dict(oracle.load(base).state_dict())
    tuned = {
        name: t + 0.05 * torch.randn_like(t) if name.startswith("decoder.") else t
        for name, t in state.items()
    }
    folder.mkdir()
    weights = _audiocraft(tuned)
    weights["condition_provider.conditioners.self_wav.chroma.spec.window"] = torch.ones(4)
    package = {"best_state": {"model": weights} if nested else weights, "xp.cfg": _settings(base)}
    torch.save(package, folder / "state_dict.bin")
    if pretrained:
        pointer = {"pretrained": "facebook/encodec_32khz", "exported": True}
        torch.save(pointer, folder / "compression_state_dict.bin")
    return tuned


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    "name", ["musicgen-small", "musicgen-stereo-small", "musicgen-melody-large"]
)
def test_a_converted_fine_tune_makes_the_tokens_of_its_weights(
    base_of: Callable[[str], Path], tmp_path: Path, name: str, nested: bool
) -> None:
    base = base_of(name)
    tuned = _fine_tune(tmp_path / "files", base, nested=nested)
    done = convert(tmp_path / "files", locate(str(base)), tmp_path / "new" / "tuned")
    assert not done.own_codec
    theirs = oracle.load(base)
    theirs.load_state_dict(tuned)
    prompt = engines.PROMPTS[0]
    expected = oracle.greedy_tokens(theirs, oracle.load_tokenizer(base), [prompt], 20, 3.0)
    found = engines.codes(engines.engine(done.folder), [prompt], 20, engines.greedy())
    assert torch.equal(found, expected)
    plain = engines.codes(engines.engine(base), [prompt], 20, engines.greedy())
    assert not torch.equal(found, plain)
    # transformers reads it too.
    again = oracle.greedy_tokens(
        oracle.load(done.folder), oracle.load_tokenizer(done.folder), [prompt], 20, 3.0
    )
    assert torch.equal(again, expected)


def test_a_codec_of_its_own_is_taken(base_of: Callable[[str], Path], tmp_path: Path) -> None:
    base = base_of("musicgen-small")
    _fine_tune(tmp_path / "files", base, pretrained=False)
    theirs = oracle.load(base).audio_encoder.state_dict()
    state = {
        name.replace(".layers.", ".model." if "quantizer" not in name else ".vq.layers.")
        .replace(".conv.", ".conv.conv.")
        .replace(".codebook.", "._codebook.")
        .replace("parametrizations.weight.original0", "weight_g")
        .replace("parametrizations.weight.original1", "weight_v"): tensor * 1.5
        for name, tensor in theirs.items()
    }
    settings = toy.codec_settings(
        {
            "sample_rate": 32000,
            "seanet.dimension": 16,
            "seanet.n_filters": 4,
            "seanet.ratios": [8, 5, 4, 4],
            "seanet.pad_mode": "reflect",
            "rvq.bins": 64,
        }
    )
    package = {"best_state": state, "xp.cfg": json.dumps(settings)}
    torch.save(package, tmp_path / "files" / "compression_state_dict.bin")
    done = convert(tmp_path / "files", locate(str(base)), tmp_path / "tuned")
    assert done.own_codec
    made = oracle.load(done.folder).audio_encoder.state_dict()
    for name, tensor in theirs.items():
        torch.testing.assert_close(made[name], tensor * 1.5)


def test_transposed_convolutions_have_names_of_their_own() -> None:
    names = {
        "decoder.model.3.convtr.convtr.weight_g": "decoder.layers.3.conv.weight_g",
        "encoder.model.1.block.1.conv.conv.bias": "encoder.layers.1.block.1.conv.bias",
        "encoder.model.1.shortcut.conv.conv.bias": "encoder.layers.1.shortcut.conv.bias",
        "decoder.model.1.lstm.weight_ih_l0": "decoder.layers.1.lstm.weight_ih_l0",
        "quantizer.vq.layers.2._codebook.embed": "quantizer.layers.2.codebook.embed",
    }
    made = rename_codec({name: torch.zeros(1) for name in names})
    assert list(made) == [f"audio_encoder.{name}" for name in names.values()]


def test_another_model_s_fine_tune_is_refused_and_nothing_is_left(
    base_of: Callable[[str], Path], checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    _fine_tune(tmp_path / "files", base_of("musicgen-small"))
    with pytest.raises(errors.CheckpointMismatch, match="--base"):
        convert(tmp_path / "files", locate(str(base_of("musicgen-melody"))), tmp_path / "tuned")
    # Its text encoder has no name, and another shape than any of audiocraft's.
    unnamed = locate(str(checkpoints("one-layer")))
    with pytest.raises(errors.UnsupportedCheckpoint, match=r"t5\.name .*--base"):
        convert(tmp_path / "files", unnamed, tmp_path / "tuned")
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


def test_an_unknown_tensor_is_named(tmp_path: Path) -> None:
    """Guards a part of an unknown architecture being dropped in silence."""
    with pytest.raises(errors.UnsupportedCheckpoint, match=r"linears\.0\.bias"):
        rename_language_model({"linears.0.bias": torch.zeros(1)}, tmp_path)


def test_a_fine_tune_of_another_size_needs_no_base_of_its_size(
    base_of: Callable[[str], Path], tmp_path: Path
) -> None:
    """The base gives text encoder and codec; the sizes of the decoder are in the settings."""
    tuned = _fine_tune(tmp_path / "files", base_of("musicgen-small"))
    base = tmp_path / "larger"
    shutil.copytree(base_of("musicgen-small"), base)
    config = json.loads((base / "config.json").read_text())
    config["decoder"] |= {"hidden_size": 96, "num_hidden_layers": 7, "num_attention_heads": 6}
    (base / "config.json").write_text(json.dumps(config))
    folder = convert(tmp_path / "files", locate(str(base)), tmp_path / "tuned").folder
    made = oracle.load(folder).state_dict()
    assert all(torch.equal(made[name], tensor) for name, tensor in tuned.items())


def test_files_without_settings_need_a_word_of_the_user(
    base_of: Callable[[str], Path], tmp_path: Path
) -> None:
    """Guards guesses: heads, activation and pattern cannot be seen in the weights."""
    base = base_of("musicgen-small")
    _fine_tune(tmp_path / "files", base)
    path = tmp_path / "files" / "state_dict.bin"
    torch.save(torch.load(path)["best_state"], path)
    with pytest.raises(errors.CheckpointIncomplete, match="--settings-of-base"):
        convert(tmp_path / "files", locate(str(base)), tmp_path / "tuned")
    source = locate(str(base))
    done = convert(tmp_path / "files", source, tmp_path / "tuned", settings_of_base=True)
    config = json.loads((done.folder / "config.json").read_text())
    assert config == json.loads((base / "config.json").read_text())


def test_a_codec_that_the_base_does_not_have_is_refused(
    base_of: Callable[[str], Path], tmp_path: Path
) -> None:
    """Guards a model of another codec's tokens beside the base's codec."""
    base = base_of("musicgen-small")
    _fine_tune(tmp_path / "files", base)
    pointer = tmp_path / "files" / "compression_state_dict.bin"
    torch.save({"pretrained": "dac_44khz"}, pointer)
    with pytest.raises(errors.UnsupportedCheckpoint, match=r"pretrained .*dac_44khz"):
        convert(tmp_path / "files", locate(str(base)), tmp_path / "tuned")
    pointer.unlink()
    path = tmp_path / "files" / "state_dict.bin"
    package = torch.load(path)
    package["xp.cfg"] = _settings(base, compression_model_checkpoint="//sig/abc")
    torch.save(package, path)
    with pytest.raises(errors.UnsupportedCheckpoint, match="compression_model_checkpoint"):
        convert(tmp_path / "files", locate(str(base)), tmp_path / "tuned")


@pytest.mark.parametrize("recorded", ["t5-base", "google-t5/t5-base", "/home/author/t5", None])
def test_the_text_encoder_of_the_base_is_known_by_name_or_shape(recorded: str | None) -> None:
    """The published T5 by its name, or by its shape where the base has no name of the hub."""
    raw = {"d_model": 768, "num_layers": 12, "d_ff": 3072, "_name_or_path": recorded}
    for name, is_same in (("t5-base", True), ("t5-large", False), ("google/flan-t5-base", False)):
        changes = toy.describe(ALL_SPECS["musicgen-small"])
        changes["conditioners.description.t5.name"] = name
        settings = RunSettings("state_dict.bin", toy.language_model_settings(changes))
        refusal = pytest.raises(errors.UnsupportedCheckpoint, match=r"t5\.name")
        with contextlib.nullcontext() if is_same else refusal:
            check_text_encoder(settings, read_language_model(settings), raw)


@pytest.mark.parametrize(
    "path",
    ["transformer_lm.softcap", "fuser.gate", "conditioners.description.t5.pooling"],
)
def test_a_setting_of_a_later_version_is_refused_by_its_name(path: str) -> None:
    """It may change the model, although the tensors are those of today."""
    changes = toy.describe(ALL_SPECS["musicgen-small"]) | {path: 7}
    settings = RunSettings("state_dict.bin", toy.language_model_settings(changes))
    with pytest.raises(errors.UnsupportedCheckpoint, match=f"the setting {path} cannot"):
        read_language_model(settings)


@pytest.mark.parametrize("text", ["a: [", "7", "${x}", b"x", "x" * (2**20 + 1)])
def test_settings_that_cannot_be_read_are_refused(
    base_of: Callable[[str], Path], tmp_path: Path, text: object
) -> None:
    base = base_of("musicgen-small")
    _fine_tune(tmp_path / "files", base)
    path = tmp_path / "files" / "state_dict.bin"
    torch.save(torch.load(path) | {"xp.cfg": text}, path)
    with pytest.raises(errors.CheckpointCorrupt, match=r"xp\.cfg"):
        convert(tmp_path / "files", locate(str(base)), tmp_path / "tuned")


def test_a_tensor_without_a_place_is_named(base_of: Callable[[str], Path], tmp_path: Path) -> None:
    """Guards tensors of a fourth layer in a model of two."""
    base = base_of("musicgen-small")
    _fine_tune(tmp_path / "files", base)
    path = tmp_path / "files" / "state_dict.bin"
    package = torch.load(path)
    package["best_state"]["transformer.layers.3.norm1.weight"] = torch.ones(48)
    torch.save(package, path)
    with pytest.raises(errors.UnsupportedCheckpoint, match=r"layers\.3\.self_attn_layer_norm"):
        convert(tmp_path / "files", locate(str(base)), tmp_path / "tuned")


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this must not run",)


def test_bad_files_are_refused_with_what_to_do(
    base_of: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = locate(str(base_of("musicgen-small")))
    files = tmp_path / "files"
    files.mkdir()
    with pytest.raises(errors.CheckpointIncomplete, match=r"no state_dict\.bin"):
        convert(files, base, tmp_path / "tuned")
    for content in (b"", b"PK\x03\x04 truncated", pickle.dumps(_Evil())):
        (files / "state_dict.bin").write_bytes(content)
        with pytest.raises(errors.CheckpointCorrupt):
            convert(files, base, tmp_path / "tuned")
    torch.save({"best_state": {"model": 7}}, files / "state_dict.bin")
    with pytest.raises(errors.CheckpointCorrupt, match="Export the run"):
        convert(files, base, tmp_path / "tuned")
    assert "must not run" not in capsys.readouterr().out
    with pytest.raises(errors.CheckpointMismatch, match="exists already"):
        convert(files, base, files)


def test_the_command_says_what_it_wrote_and_the_licence(
    base_of: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = base_of("musicgen-small")
    _fine_tune(tmp_path / "files", base)
    new = tmp_path / "tuned"
    assert cli.main(["convert", str(tmp_path / "files"), "--base", str(base), "-o", str(new)]) == 0
    assert "the codec of musicgen-small" in capsys.readouterr().out
    assert locate(str(new)).licence == locate(str(base)).licence == catalog.UNKNOWN_LICENCE
    # The licence of a fine-tune is on its own card.
    (tmp_path / "files" / "README.md").write_text("---\nlicense: mit\n---\n")
    done = convert(tmp_path / "files", locate(str(base)), tmp_path / "carded")
    assert locate(str(done.folder)).licence == done.licence == "mit, base model unknown"
    assert cli.main(["convert", str(tmp_path), "--base", str(base), "-o", str(new)]) == 1
