"""The toy checkpoints are what their names say, however they are stored."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from bench.full_size import build_full_size
from bench.toy_tokenizer import VOCAB_SIZE
from tests.support import ROOT, oracle
from tests.support import checkpoints as toy
from tests.support.oracle import Oracle

PROMPTS = ["80s pop track with bassy drums and synth", "calm piano"]
TEXTS = [*PROMPTS, "", "  two  spaces\tand a tab ", "120 BPM, 4/4!", "ﬁne café № 5", "日本"]
VARIANTS = {
    variant.__name__: variant
    for variant in (
        toy.as_sharded_safetensors,
        toy.as_pytorch_bin,
        toy.as_sharded_bin,
        toy.with_legacy_weight_norm,
        toy.with_stored_positions,
    )
}

Checkpoints = Callable[[str], Path]
Oracles = Callable[[str], Oracle]


def test_names_are_the_published_ones() -> None:
    sizes = ("small", "medium", "large", "melody", "melody-large")
    published = {f"musicgen-{channels}{size}" for channels in ("", "stereo-") for size in sizes}
    assert set(toy.FAMILIES) == published


def test_importing_the_support_does_not_import_transformers() -> None:
    script = (
        "import sys, tests.support.checkpoints, tests.support.oracle, bench.full_size; "
        "sys.exit('transformers' in sys.modules)"
    )
    root = ROOT
    assert subprocess.run([sys.executable, "-c", script], cwd=root, check=False).returncode == 0


@pytest.mark.parametrize("name", toy.ALL_SPECS)
def test_shapes_follow_the_spec(name: str, checkpoints: Checkpoints) -> None:
    spec = toy.ALL_SPECS[name]
    weights = load_file(checkpoints(name) / "model.safetensors")
    heads = [key for key in weights if key.startswith("decoder.lm_heads.")]
    assert len(heads) == spec.decoder_codebooks
    assert weights[heads[0]].shape == (spec.vocab_size, spec.hidden_size)
    assert ("enc_to_dec_proj.bias" in weights) == (spec.text_hidden_size != spec.hidden_size)
    assert ("audio_enc_to_dec_proj.bias" in weights) == spec.melody
    assert any(".encoder_attn." in key for key in weights) != spec.melody
    assert any(key.endswith(".wi_1.weight") for key in weights) == (
        spec.text_activation == "gated-gelu"
    )


@pytest.mark.parametrize("name", toy.ALL_SPECS)
def test_no_tensor_is_left_at_a_default(name: str, checkpoints: Checkpoints) -> None:
    for key, tensor in load_file(checkpoints(name) / "model.safetensors").items():
        assert tensor.isfinite().all(), key
        assert tensor.abs().max() > 0, key
        if tensor.numel() > 2:
            assert tensor.std() > 1e-3, key


def test_builds_are_reproducible_and_leave_the_global_state_alone(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    first, second, other = checkpoints("musicgen-small"), tmp_path / "second", tmp_path / "other"
    state = torch.get_rng_state()
    toy.build(toy.FAMILIES["musicgen-small"], second)
    toy.build(toy.FAMILIES["musicgen-small"], other, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes(), file.name
    seeds = load_file(first / "model.safetensors"), load_file(other / "model.safetensors")
    same = [key for key in seeds[0] if torch.equal(seeds[0][key], seeds[1][key])]
    assert all(key.endswith("codebook.inited") for key in same)


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_give_the_same_tokens_and_audio(
    variant: str, checkpoints: Checkpoints, oracles: Oracles, tmp_path: Path
) -> None:
    VARIANTS[variant](checkpoints("musicgen-small"), tmp_path / variant)
    model, tokenizer = oracles("musicgen-small")
    loaded = oracle.load(tmp_path / variant)
    found, wanted = (
        oracle.greedy_tokens(subject, tokenizer, PROMPTS, 20, 3) for subject in (loaded, model)
    )
    assert torch.equal(found, wanted)
    torch.testing.assert_close(
        oracle.encodec_decode(loaded, found), oracle.encodec_decode(model, found)
    )


def test_variants_are_stored_as_named(checkpoints: Checkpoints, tmp_path: Path) -> None:
    for name, variant in VARIANTS.items():
        variant(checkpoints("musicgen-small"), tmp_path / name)
        in_one_file = name.startswith("with_")
        assert (tmp_path / name / "model.safetensors").exists() == in_one_file
        assert (tmp_path / name / "spiece.model").exists()
    sharded, pickled = tmp_path / "as_sharded_safetensors", tmp_path / "as_sharded_bin"
    assert len(list(sharded.glob("model-*-of-00003.safetensors"))) == 3
    assert len(list(pickled.glob("pytorch_model-*-of-00003.bin"))) == 3
    legacy = load_file(tmp_path / "with_legacy_weight_norm" / "model.safetensors")
    assert any(key.endswith(".weight_g") for key in legacy)
    assert not any("parametrizations" in key for key in legacy)


def test_float16_variant_loads_close_to_float32(
    checkpoints: Checkpoints, oracles: Oracles, tmp_path: Path
) -> None:
    toy.as_float16(checkpoints("musicgen-small"), tmp_path / "half")
    stored = load_file(tmp_path / "half" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    model, tokenizer = oracles("musicgen-small")
    half = oracle.load(tmp_path / "half")
    assert half.dtype == torch.float32
    inputs = oracle.delayed(model, oracle.greedy_tokens(model, tokenizer, PROMPTS, 20, 1))
    wanted, found = (
        oracle.teacher_forced_logits(subject, tokenizer, PROMPTS, inputs)
        for subject in (model, half)
    )
    assert 0 < (found - wanted).abs().max() < 0.1


def test_tokenizers_agree(checkpoints: Checkpoints, oracles: Oracles, tmp_path: Path) -> None:
    from sentencepiece import SentencePieceProcessor

    source = checkpoints("musicgen-small")
    toy.with_spiece_only(source, tmp_path / "spiece")
    assert not list((tmp_path / "spiece").glob("tokenizer*"))
    pieces = SentencePieceProcessor(model_file=str(tmp_path / "spiece" / "spiece.model"))
    plain = Tokenizer.from_file(str(source / "tokenizer.json"))
    wrapped = oracles("musicgen-small").tokenizer
    assert [plain.id_to_token(i) for i in range(3)] == ["<pad>", "</s>", "<unk>"]
    assert plain.get_vocab_size() == len(wrapped) == VOCAB_SIZE
    for text in TEXTS:
        assert wrapped(text)["input_ids"] == plain.encode(text).ids == [*pieces.encode(text), 1]


def test_damage_is_done(checkpoints: Checkpoints, tmp_path: Path) -> None:
    folder, name = tmp_path / "copy", "decoder.lm_heads.1.weight"
    toy.with_legacy_weight_norm(checkpoints("musicgen-small"), folder)
    weights = folder / "model.safetensors"
    rows = load_file(weights)[name].shape[0]
    toy.reshape_tensor(folder, name)
    assert load_file(weights)[name].shape[0] == rows + 1
    toy.without_tensor(folder, name)
    assert name not in load_file(weights)
    size = weights.stat().st_size
    toy.truncate(weights)
    assert weights.stat().st_size == size // 2
    toy.without_file(folder, "config.json")
    assert not (folder / "config.json").exists()


def test_full_size_build_is_whole_or_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = toy.FAMILIES["musicgen-small"]
    monkeypatch.setattr("bench.full_size.SIZES", {"toy": spec})
    folder = tmp_path / "deep" / "toy"
    assert build_full_size("toy", folder, dtype=torch.float16)
    assert not build_full_size("toy", folder, dtype=torch.float16)
    assert oracle.load(folder).config.decoder.hidden_size == spec.hidden_size
    with pytest.raises(FileExistsError, match="float16"):
        build_full_size("toy", folder, dtype=torch.float32)

    def fail(folder: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("bench.random_checkpoints.write_tokenizer", fail)
    with pytest.raises(OSError, match="disk full"):
        build_full_size("toy", tmp_path / "deep" / "broken")
    assert [path.name for path in folder.parent.iterdir()] == ["toy"]
