"""Everything that an adapter can change is merged as PEFT merges it, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from musicgen import errors
from musicgen.checkpoints.adapters.adapter import AdaptedFiles, Adapter, apply_to, canonical
from musicgen.engine.loading import load_engine
from musicgen.settings import Settings
from tests.support import adapters, engines, oracle
from tests.support import checkpoints as forms

EMBEDDING = "text_encoder.encoder.embed_tokens"
LORA: dict[str, dict[str, Any]] = {
    "all linear": {"target_modules": "all-linear"},
    "pattern": {"target_modules": r".*layers\.0\.self_attn\.[qv]_proj", "lora_alpha": 3},
    "bias all": {"target_modules": ["enc_to_dec_proj", "fc1"], "bias": "all"},
    "bias lora_only": {"target_modules": ["enc_to_dec_proj"], "bias": "lora_only"},
    "bias lora_only without a bias": {"target_modules": ["q_proj"], "bias": "lora_only"},
    "lora bias": {"target_modules": ["enc_to_dec_proj"], "lora_bias": True},
    "alpha 0": {"target_modules": ["q_proj"], "lora_alpha": 0, "bias": "all"},
    "dora": {"target_modules": ["q_proj", "enc_to_dec_proj"], "use_dora": True},
    "dora, rank-stabilized, patterns": {
        "target_modules": ["q_proj", "fc1"],
        "use_dora": True,
        "use_rslora": True,
        "rank_pattern": {"fc1": 5},
        "alpha_pattern": {r"layers\.1\.fc1": 3},
    },
    "dora embedding": {"target_modules": ["embed_tokens.0"], "use_dora": True},
    "shared embedding": {"target_modules": ["shared"], "alpha_pattern": {"shared": 3}},
    "dora shared embedding": {"target_modules": ["shared"], "use_dora": True},
    "tied shared embedding": {"target_modules": ["shared"], "ensure_weight_tying": True},
    "read embedding": {"target_modules": [EMBEDDING]},
    "saved embedding": {"target_modules": ["fc1"], "modules_to_save": ["encoder.embed_tokens"]},
    "saved text encoder": {"target_modules": ["q_proj"], "modules_to_save": ["text_encoder"]},
    "saved codec": {"target_modules": ["q_proj"], "modules_to_save": ["audio_encoder.decoder"]},
    "saved norms": {"target_modules": ["q_proj"], "modules_to_save": ["layer_norm"]},
    "saved and adapted": {
        "target_modules": ["q_proj", "lm_heads.0"],
        "modules_to_save": ["lm_heads.0"],
    },
    "saved around": {"target_modules": ["q_proj"], "modules_to_save": ["self_attn"]},
    "saved positions": {"target_modules": ["q_proj"], "modules_to_save": ["embed_positions"]},
    "tokens of the input": {"target_modules": ["q_proj"], "trainable_token_indices": [5, 1]},
    "tokens by name": {
        "target_modules": ["q_proj"],
        "trainable_token_indices": {"encoder.embed_tokens": [1, 5], "embed_tokens.0": [3]},
    },
    "position bias": {"target_modules": ["relative_attention_bias"]},
    "some layers": {"target_modules": ["fc2"], "layers_to_transform": [1]},
}
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "LoHa": ("LoHaConfig", {"target_modules": ["q_proj", "fc1"], "r": 3, "alpha": 5}),
    "LoHa, patterns": (
        "LoHaConfig",
        {"target_modules": ["fc1"], "rank_pattern": {"fc1": 2}, "alpha_pattern": {"fc1": 7}},
    ),
    "LoKr": ("LoKrConfig", {"target_modules": ["q_proj", "fc1"], "r": 2, "alpha": 5}),
    "LoKr, whole": ("LoKrConfig", {"target_modules": ["fc1"], "r": 64, "alpha": 40}),
    "LoKr, both low-rank": (
        "LoKrConfig",
        {
            "target_modules": ["fc2"],
            "decompose_both": True,
            "rank_pattern": {"fc2": 2},
            "alpha_pattern": {"fc2": 3},
        },
    ),
    "IA3": (
        "IA3Config",
        {"target_modules": ["k_proj", "fc2", "enc_to_dec_proj"], "feedforward_modules": ["fc2"]},
    ),
    "norms": ("LNTuningConfig", {"target_modules": ["self_attn_layer_norm", "final_layer_norm"]}),
    "tokens": (
        "TrainableTokensConfig",
        {"target_modules": ["embed_tokens.1"], "token_indices": [3, 1]},
    ),
    "tokens of the text": (
        "TrainableTokensConfig",
        {"target_modules": ["shared"], "token_indices": [3, 1]},
    ),
}
CASES = {name: ("LoraConfig", {"r": 4, **options}) for name, options in LORA.items()} | OTHERS
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def _write(folder: Path, base: Path, kind: str, **options: Any) -> Path:
    peft = pytest.importorskip("peft")
    adapters.write(folder, base, getattr(peft, kind)(**options))
    return folder


@pytest.fixture
def base(checkpoints: Callable[[str], Path]) -> Path:
    return checkpoints("musicgen-small")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore")
def test_each_weight_is_merged_as_peft_merges_it(base: Path, tmp_path: Path, name: str) -> None:
    kind, options = CASES[name]
    adapter = _write(tmp_path, base, kind, **options)
    expected = adapters.weights(adapters.merge(base, adapter))
    plain = oracle.load(base)
    before = {key: tensor.clone() for key, tensor in adapters.weights(plain).items()}
    changed = [key for key in before if not torch.equal(before[key], expected[key])]
    assert changed, "the adapter does something"
    apply_to(plain, adapter)
    for key, tensor in adapters.weights(plain).items():
        torch.testing.assert_close(tensor, expected[key], **CLOSE, msg=key)
    files = AdaptedFiles(base, Adapter(adapter))
    for stored in files.names:
        torch.testing.assert_close(files[stored], expected[canonical(stored)], **CLOSE, msg=stored)


@pytest.mark.parametrize(
    "name", ["dora", "bias lora_only", "saved embedding", "tokens of the input", "LoKr", "IA3"]
)
@pytest.mark.filterwarnings("ignore")
def test_both_engines_play_what_peft_merges(base: Path, tmp_path: Path, name: str) -> None:
    kind, options = CASES[name]
    adapter = _write(tmp_path, base, kind, **options)
    merged = adapters.merge(base, adapter)
    tokens = oracle.greedy_tokens(
        merged, oracle.load_tokenizer(base), [engines.PROMPTS[0]], 12, 3.0
    )
    for engine in ("musicgen", "transformers"):
        settings = Settings(engine=engine, precision="float32")
        ours = load_engine(base, "x", settings, adapter)
        found = engines.codes(ours, [engines.PROMPTS[0]], 12, engines.greedy())
        assert torch.equal(found, tokens), engine


@pytest.mark.parametrize("form", [forms.as_float16, forms.with_legacy_weight_norm])
@pytest.mark.filterwarnings("ignore")
def test_a_base_in_another_form_is_merged_alike(
    base: Path, tmp_path: Path, form: Callable[[Path, Path], None]
) -> None:
    """A float16 base is merged in float32; names of old versions mean today's tensors."""
    peft_options = {"target_modules": ["q_proj"], "modules_to_save": ["audio_encoder.decoder"]}
    other = tmp_path / "base"
    form(base, other)
    adapter = _write(tmp_path / "adapter", other, "LoraConfig", r=4, **peft_options)
    expected = adapters.weights(adapters.merge(other, adapter))
    plain = oracle.load(other)
    apply_to(plain, adapter)
    files = AdaptedFiles(other, Adapter(adapter))
    for key, tensor in adapters.weights(plain).items():
        torch.testing.assert_close(tensor, expected[key], **CLOSE, msg=key)
    for stored in files.names:
        merged = files[stored].float()
        torch.testing.assert_close(merged, expected[canonical(stored)], **CLOSE, msg=stored)
    load_engine(other, "x", Settings(precision="float32"), adapter).close()


@pytest.mark.filterwarnings("ignore")
def test_a_model_merged_by_peft_reads_the_embedding_that_its_encoder_reads(
    base: Path, tmp_path: Path
) -> None:
    """After PEFT's merge the two names of T5's embedding hold two tensors."""
    kind, options = CASES["saved embedding"]
    merged = adapters.merge(base, _write(tmp_path / "adapter", base, kind, **options))
    merged.save_pretrained(tmp_path / "whole")
    for path in base.glob("*token*"):
        (tmp_path / "whole" / path.name).write_bytes(path.read_bytes())
    stored = load_file(tmp_path / "whole" / "model.safetensors")
    assert not torch.equal(stored["text_encoder.shared.weight"], stored[f"{EMBEDDING}.weight"])
    tokens = oracle.greedy_tokens(
        merged, oracle.load_tokenizer(base), [engines.PROMPTS[0]], 12, 3.0
    )
    ours = load_engine(tmp_path / "whole", "x", Settings(precision="float32"))
    assert torch.equal(engines.codes(ours, [engines.PROMPTS[0]], 12, engines.greedy()), tokens)


@pytest.mark.parametrize("engine", ["musicgen", "transformers"])
@pytest.mark.filterwarnings("ignore")
def test_a_trained_copy_that_nothing_reads_is_refused(
    base: Path, tmp_path: Path, engine: str
) -> None:
    options = {"r": 4, "target_modules": ["q_proj"], "modules_to_save": ["shared"]}
    adapter = _write(tmp_path, base, "LoraConfig", **options)
    settings = Settings(engine=engine, precision="float32")
    with pytest.raises(errors.UnsupportedAdapter, match=r"modules_to_save names .*shared"):
        load_engine(base, "x", settings, adapter)
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    # An untrained copy is what training leaves: no gradient reaches it.
    tensors["base_model.model.text_encoder.shared.weight"] = oracle.load(
        base
    ).text_encoder.shared.weight.detach()
    save_file(tensors, path)
    load_engine(base, "x", settings, adapter).close()


Q_PROJ = "decoder.model.decoder.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("change", "options", "error", "words"),
    [
        ("lora_diag", {}, errors.CheckpointMismatch, rf"{Q_PROJ}\.lora_diag"),
        ("lora_magnitude_vector", {}, errors.UnsupportedAdapter, "use_dora is False"),
        ("lora_B.bias", {}, errors.UnsupportedAdapter, "lora_bias is False"),
        ("lora_A.default.weight", {}, errors.CheckpointMismatch, r"lora_A\.default"),
        ("weight", {}, errors.UnsupportedAdapter, "also saved whole"),
        ("hada_w1_a", {}, errors.CheckpointMismatch, "hada_w1_a"),
        ("-lora_B.weight", {}, errors.CheckpointIncomplete, r"only lora_A\.weight"),
        ("", {"use_dora": True}, errors.UnsupportedAdapter, "lacks the tensor lora_magnitude"),
        ("", {"target_modules": ["k_proj"]}, errors.UnsupportedAdapter, "does not name it"),
        ("", {"target_modules": r".*\.k_proj"}, errors.UnsupportedAdapter, "does not name it"),
    ],
)
def test_a_tensor_left_over_or_missing_is_named(
    base: Path,
    tmp_path: Path,
    change: str,
    options: dict[str, Any],
    error: type[Exception],
    words: str,
) -> None:
    adapter = _write(tmp_path, base, "LoraConfig", r=4, target_modules=["q_proj"])
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    if change.startswith("-"):
        del tensors[f"base_model.model.{Q_PROJ}.{change[1:]}"]
    elif change:
        tensors[f"base_model.model.{Q_PROJ}.{change}"] = torch.ones(48)
    save_file(tensors, path)
    adapters.change_config(adapter, **options)
    for engine in ("musicgen", "transformers"):
        with pytest.raises(error, match=words):
            load_engine(base, "x", Settings(engine=engine, precision="float32"), adapter)


@pytest.mark.filterwarnings("ignore")
def test_a_convolution_of_the_codec_is_refused(base: Path, tmp_path: Path) -> None:
    pattern = r"audio_encoder\.decoder\.layers\.0\.conv"
    adapter = _write(tmp_path, base, "LoraConfig", r=4, target_modules=pattern)
    with pytest.raises(errors.UnsupportedAdapter, match="weight normalization"):
        load_engine(base, "x", Settings(precision="float32"), adapter)
