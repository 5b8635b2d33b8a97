"""Settings of audiocraft's language model as the configuration of a Hugging Face checkpoint.

Defaults of absent settings are those of audiocraft's classes. Settings of training alone are left
out, and so are those that audiocraft's `MusicGen` replaces before it generates: guidance, sampling,
`two_step_cfg` and `match_len_on_eval`. Source: audiocraft 1.4.0a2, `models/builders.py`,
`models/lm.py`, `modules/transformer.py`, `modules/conditioners.py` and `models/musicgen.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from musicgen.checkpoints.audiocraft.settings import RunSettings
from musicgen.model.chroma import HOP, WINDOW
from musicgen.model.config import SHORTEST_WINDOW_FRAMES, WINDOW_FRAMES, Family

_LM, _FUSER, _T5 = "transformer_lm", "fuser", "conditioners.description.t5"
_CHROMA = "conditioners.self_wav.chroma_stem"
_SHAPES = ("dim", "num_heads", "num_layers", "hidden_scale", "n_q", "card", "activation")
_WITHOUT_EFFECT = (
    *("dropout", "attention_dropout", "emb_lr", "lr", "weight_decay", "checkpointing"),
    *("weight_init", "depthwise_init", "zero_bias_init"),
    *("custom", "memory_efficient", "attention_as_float32"),
    *("cross_attention", "two_step_cfg", "q_modeling"),
    # Rotary embeddings alone read it, and they are refused.
    "xpos",
)
# Each with the default of audiocraft's class and the values that this architecture has.
_FIXED: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "norm": ("layer_norm", ("layer_norm",)),
    "norm_first": (False, (True,)),
    "bias_ff": (True, (False,)),
    "bias_attn": (True, (False,)),
    "bias_proj": (True, (False,)),
    "causal": (False, (True,)),
    "past_context": (None, (None,)),
    "layer_scale": (None, (None,)),
    "positional_embedding": ("sin", ("sin",)),
    "max_period": (10000, (10000, 10000.0)),
    "positional_scale": (1.0, (1, 1.0)),
    "qk_layer_norm": (False, (False,)),
    "qk_layer_norm_cross": (False, (False,)),
    "kv_repeat": (1, (1,)),
}
_FUSED: dict[Family, dict[str, list[str]]] = {
    "text": {"prepend": [], "cross": ["description"]},
    "melody": {"prepend": ["description", "self_wav"], "cross": []},
    "style": {"prepend": ["description", "self_wav"], "cross": []},
}


@dataclass(frozen=True)
class LanguageModel:
    """The settings of a run that shape a checkpoint.

    `codebooks` counts those of all `channels`. `codec`: the codec of the training.
    `codec_codebooks`: how many of its codebooks are used, None for all. `seconds`: length of the
    training's clips. `has_own_text_encoder`: T5 was trained too.
    """

    family: Family
    hidden_size: int
    heads: int
    layers: int
    ffn_size: int
    codebooks: int
    vocab_size: int
    activation: str
    channels: int
    sample_rate: int
    seconds: float
    codec: str
    codec_codebooks: int | None
    text_encoder: str
    has_own_text_encoder: bool
    chroma_bins: int

    def to_config(self) -> dict[str, Any]:
        """Return the fields of the decoder's configuration."""
        return {
            "hidden_size": self.hidden_size,
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "ffn_dim": self.ffn_size,
            "num_codebooks": self.codebooks,
            "vocab_size": self.vocab_size,
            "activation_function": self.activation,
            "audio_channels": self.channels,
            "pad_token_id": self.vocab_size,
            "bos_token_id": self.vocab_size,
        }

    def count_chroma_frames(self) -> int:
        """Return the chroma frames of a clip of the training's length."""
        return 1 + max(int(self.sample_rate * self.seconds), WINDOW) // HOP


def read_language_model(settings: RunSettings) -> LanguageModel:
    """Read the settings of a language model.

    Raises: `UnsupportedCheckpoint` with the name of a setting that cannot be converted,
    `CheckpointIncomplete` for an absent one without a default.
    """
    settings.require("lm_model", "transformer_lm")
    settings.require_known(_LM, (*_SHAPES, *_WITHOUT_EFFECT, *_FIXED))
    for name, (default, allowed) in _FIXED.items():
        settings.require(f"{_LM}.{name}", *allowed, default=default)
    family = _read_family(settings)
    codebooks, channels = settings.get_number(f"{_LM}.n_q", 8), _read_channels(settings)
    _check_pattern(settings, codebooks, channels)
    hidden_size = settings.get_number(f"{_LM}.dim", 128)
    heads = settings.get_number(f"{_LM}.num_heads", 8)
    if hidden_size % 2 or hidden_size % heads:
        settings.refuse(f"{_LM}.dim", hidden_size, f"It must be even and a multiple of {heads}.")
    return LanguageModel(
        family=family,
        hidden_size=hidden_size,
        heads=heads,
        layers=settings.get_number(f"{_LM}.num_layers"),
        ffn_size=_read_ffn_size(settings, hidden_size),
        codebooks=codebooks,
        vocab_size=settings.get_number(f"{_LM}.card", 1024),
        activation=settings.require(f"{_LM}.activation", "gelu", "relu", default="relu"),
        channels=channels,
        sample_rate=settings.get_number("sample_rate"),
        seconds=_read_seconds(settings),
        codec=str(settings.get("compression_model_checkpoint", "")),
        codec_codebooks=_read_codec_codebooks(settings),
        text_encoder=str(settings.get(f"{_T5}.name")),
        has_own_text_encoder=settings.require(f"{_T5}.finetune", False, True),
        chroma_bins=_read_chroma(settings) if family == "melody" else 0,
    )


def count_window_frames(settings: RunSettings, frame_rate: int) -> int:
    """Return the frames of the longest clip that the model makes at once.

    Raises: `UnsupportedCheckpoint`.
    """
    seconds = _read_seconds(settings)
    frames = int(seconds * frame_rate)
    if not SHORTEST_WINDOW_FRAMES <= frames <= WINDOW_FRAMES:
        low, high = SHORTEST_WINDOW_FRAMES / frame_rate, WINDOW_FRAMES / frame_rate
        settings.refuse(
            "dataset.segment_duration", seconds, f"It must be from {low:g} to {high:g} s."
        )
    return frames


def _read_seconds(settings: RunSettings) -> float:
    seconds = settings.get("dataset.segment_duration")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 1e6:
        settings.refuse("dataset.segment_duration", seconds, "It must be a number of seconds.")
    return float(seconds)


def _read_ffn_size(settings: RunSettings, hidden_size: int) -> int:
    scale = settings.get(f"{_LM}.hidden_scale", 4)
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < 1e3:
        settings.refuse(f"{_LM}.hidden_scale", scale, "It must be a number above 0.")
    return int(scale * hidden_size)


def _read_family(settings: RunSettings) -> Family:
    """Return the family of the conditioners, and check how they reach the decoder."""
    conditioners = {name for name in settings.section("conditioners") if name != "args"}
    family: Family = "melody" if "self_wav" in conditioners else "text"
    if family == "melody" and settings.get("conditioners.self_wav.model") == "style":
        family = "style"
    names = ("description",) if family == "text" else ("description", "self_wav")
    settings.require_known("conditioners", (*names, "args"))
    settings.require_known("conditioners.args", ("merge_text_conditions_p", "drop_desc_p"))
    settings.require("conditioners.description.model", "t5")
    settings.require_known(
        _T5, ("name", "finetune", "word_dropout", "normalize_text", "autocast_dtype")
    )
    settings.require(f"{_T5}.normalize_text", False, default=False)
    fused: dict[str, list[str]] = {"sum": [], "input_interpolate": [], "ignore": []} | _FUSED[
        family
    ]
    scale = "cross_attention_pos_emb_scale"
    settings.require_known(_FUSER, (*fused, "cross_attention_pos_emb", scale))
    settings.require(f"{_FUSER}.cross_attention_pos_emb", False, default=False)
    for method, wanted in fused.items():
        found = settings.get(f"{_FUSER}.{method}", [])
        if not isinstance(found, list) or sorted(map(str, found)) != wanted:
            settings.refuse(f"{_FUSER}.{method}", found, f"It must be {wanted}.")
    return family


def _read_chroma(settings: RunSettings) -> int:
    """Check the settings of the melody, and return its pitch classes."""
    settings.require("conditioners.self_wav.model", "chroma_stem")
    fixed: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "radix2_exp": (None, (WINDOW.bit_length() - 1,)),
        "argmax": (False, (True,)),
        "eval_wavs": (None, (None,)),
        "nfft": (None, (None, WINDOW)),
        "winlen": (None, (None, WINDOW)),
        "winhop": (None, (None, HOP)),
        "sample_rate": (None, (settings.get("sample_rate"),)),
    }
    unused = ("n_chroma", "match_len_on_eval", "n_eval_wavs", "cache_path")
    settings.require_known(_CHROMA, (*fixed, *unused))
    for name, (default, allowed) in fixed.items():
        settings.require(f"{_CHROMA}.{name}", *allowed, default=default)
    bins = settings.get_number(f"{_CHROMA}.n_chroma")
    if bins == settings.get(f"{_LM}.dim", None):
        settings.refuse(f"{_CHROMA}.n_chroma", bins, "It must differ from transformer_lm.dim.")
    return bins


def _read_channels(settings: RunSettings) -> int:
    """Return 2 for a stereo model that runs a mono codec on each side, else 1."""
    interleave = "interleave_stereo_codebooks"
    is_stereo = settings.require(f"{interleave}.use", False, True, default=False)
    if is_stereo:
        settings.require(f"{interleave}.per_timestep", False, default=False)
        return 2
    return int(settings.require("channels", 1))


def _read_codec_codebooks(settings: RunSettings) -> int | None:
    path = "compression_model_n_q"
    return None if settings.get(path, None) is None else settings.get_number(path)


def _check_pattern(settings: RunSettings, codebooks: int, channels: int) -> None:
    """Check that codebook k of a channel is k steps behind its first one."""
    wanted = [k // channels for k in range(codebooks)]
    modeling = settings.get("codebooks_pattern.modeling")
    path = "codebooks_pattern.modeling"
    if modeling is None:
        path = f"{_LM}.q_modeling"
        modeling = settings.get(path, None)
        delays = list(range(codebooks))
    elif modeling == "delay":
        pattern = "codebooks_pattern.delay"
        settings.require_known(pattern, ("delays", "flatten_first", "empty_initial"))
        settings.require(f"{pattern}.flatten_first", 0, default=0)
        settings.require(f"{pattern}.empty_initial", 0, default=0)
        path = f"{pattern}.delays"
        delays = settings.get(path, None) or list(range(codebooks))
    if modeling != "delay":
        settings.refuse(path, modeling, "It must be delay.")
    if delays != wanted:
        settings.refuse(path, delays, f"It must be {wanted}.")
