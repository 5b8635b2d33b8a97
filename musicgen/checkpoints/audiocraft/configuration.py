"""Configuration of a converted checkpoint: the base's, changed by the settings of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from musicgen.catalog import MERT
from musicgen.checkpoints.audiocraft.codec import count_codebooks, limit_codebooks, read_codec
from musicgen.checkpoints.audiocraft.files import COMPRESSION_MODEL, LANGUAGE_MODEL, Package
from musicgen.checkpoints.audiocraft.language_model import (
    LanguageModel,
    count_window_frames,
    read_language_model,
)
from musicgen.checkpoints.audiocraft.settings import RunSettings
from musicgen.checkpoints.audiocraft.style import read_mert_config, read_style
from musicgen.checkpoints.audiocraft.text_base import build_base, is_text_encoder
from musicgen.checkpoints.locate import Source
from musicgen.errors import CheckpointMismatch, UnsupportedCheckpoint
from musicgen.model.config import Family, MusicGenConfig
from musicgen.model.json_file import read_json

CONFIG, GENERATION_CONFIG = "config.json", "generation_config.json"
PUBLISHED_CODEC = "facebook/encodec_32khz"
_PRETRAINED = "//pretrained/"
_NOT_STYLE = ("architectures", "num_chroma", "chroma_length")
_NAME = "_name_or_path"
_OF_BASE = " Or say --settings-of-base if the run changed no setting of its base model."
# Width, layers and feed-forward width of the T5 encoders that audiocraft knows.
_TEXT_ENCODERS = {
    "t5-small": (512, 6, 2048),
    "t5-base": (768, 12, 3072),
    "t5-large": (1024, 24, 4096),
    "flan-t5-small": (512, 8, 1024),
    "flan-t5-base": (768, 12, 2048),
    "flan-t5-large": (1024, 24, 2816),
}


@dataclass(frozen=True)
class Parts:
    """Configuration of a converted checkpoint.

    `files`: JSON by file name. `codec_codebooks`: codebooks to keep of the codec. `own_*`: the
    weights come from the fine-tune, not from the base. `is_base_text_encoder`: the base is a T5.
    `features`: MERT, for a style model.
    """

    files: Mapping[str, Mapping[str, Any]]
    own_text_encoder: bool
    own_codec: bool
    codec_codebooks: int
    is_base_text_encoder: bool = False
    features: Source | None = None


LocateFeatures = Callable[[], Source]
"""Finds MERT, downloaded first if necessary."""


def require_features() -> Source:
    """Refuse a style model without MERT. Raises: `CheckpointMismatch`."""
    raise CheckpointMismatch(f"a style model needs MERT too: name {MERT} with --features")


def build_configuration(
    base: Source,
    language_model: Package,
    codec: Package | None,
    *,
    settings_of_base: bool,
    locate_features: LocateFeatures = require_features,
) -> Parts:
    """Build the configuration of a fine-tune with a base.

    Raises: `UnsupportedCheckpoint` with the name of a setting that cannot be converted,
    `CheckpointMismatch`, `CheckpointIncomplete`, `CheckpointCorrupt`.
    """
    raw = dict(read_json(base.folder / CONFIG))
    is_plain = is_text_encoder(raw)
    if is_plain:
        raw = build_base(raw, codec, base.label)
    own_codec = codec is not None and codec.pretrained is None
    if own_codec and codec is not None:
        raw["audio_encoder"] = raw["audio_encoder"] | read_codec(codec.require_settings(""))
        raw["audio_encoder"][_NAME] = COMPRESSION_MODEL
    if language_model.settings is None and settings_of_base and not is_plain:
        if codec is not None and codec.pretrained is not None:
            _check_published_codec(codec.path.name, "pretrained", codec.pretrained, raw)
        return Parts({CONFIG: raw}, False, own_codec, count_codebooks(raw["audio_encoder"]))
    settings = language_model.require_settings("" if is_plain else _OF_BASE)
    model = read_language_model(settings)
    family = "text" if is_plain else MusicGenConfig.from_folder(base.folder).family
    _check_family(family, base, model)
    _check_codec_name(language_model, codec, model, raw)
    if model.codec_codebooks is not None and own_codec:
        _limit_codebooks(settings, model.codec_codebooks, raw["audio_encoder"])
    _check_codec_fits(settings, model, raw["audio_encoder"])
    check_text_encoder(settings, model, raw["text_encoder"])
    if model.has_own_text_encoder:
        raw["text_encoder"] = raw["text_encoder"] | {_NAME: LANGUAGE_MODEL}
    raw["decoder"] = raw["decoder"] | model.to_config()
    if model.family == "melody":
        raw |= {"num_chroma": model.chroma_bins, "chroma_length": model.count_chroma_frames()}
    features = None
    if model.family == "style":
        features = locate_features()
        raw = _add_style(raw, settings, features)
    path = base.folder / GENERATION_CONFIG
    # That of a T5 is about its own decoder.
    generation = dict(read_json(path)) if path.is_file() and not is_plain else {}
    generation |= _build_generation_config(settings, model, raw["audio_encoder"])
    return Parts(
        {CONFIG: raw, GENERATION_CONFIG: generation},
        model.has_own_text_encoder,
        own_codec,
        count_codebooks(raw["audio_encoder"]),
        is_plain,
        features,
    )


def _add_style(raw: Mapping[str, Any], settings: RunSettings, features: Source) -> dict[str, Any]:
    """Return the configuration of a base as that of a style model."""
    encoder = read_style(settings) | {"feature_extractor": read_mert_config(features)}
    kept = {name: value for name, value in raw.items() if name not in _NOT_STYLE}
    return kept | {"model_type": "musicgen_style", "style_encoder": encoder}


def _check_codec_name(
    language_model: Package, codec: Package | None, model: LanguageModel, raw: Mapping[str, Any]
) -> None:
    """Check that a codec that is only named is the base's. Raises: `UnsupportedCheckpoint`."""
    if codec is None:
        _check_published_codec(
            language_model.path.name, "compression_model_checkpoint", model.codec, raw
        )
    elif codec.pretrained is not None:
        _check_published_codec(codec.path.name, "pretrained", codec.pretrained, raw)


def _build_generation_config(
    settings: RunSettings, model: LanguageModel, codec: Mapping[str, Any]
) -> dict[str, Any]:
    frame_rate = math.ceil(codec["sampling_rate"] / math.prod(codec["upsampling_ratios"]))
    names = ("decoder_start_token_id", "pad_token_id", "bos_token_id")
    length = {"max_length": count_window_frames(settings, frame_rate)}
    return dict.fromkeys(names, model.vocab_size) | length


def _check_family(family: Family, base: Source, model: LanguageModel) -> None:
    # Of its base a style model takes text encoder and codec alone, and every family has those.
    if model.family not in (family, "style"):
        raise CheckpointMismatch(
            f"the fine-tune does not fit {base.label}, a {family} model: name a {model.family} "
            "model with --base"
        )


def _check_published_codec(file: str, path: str, name: str, raw: Mapping[str, Any]) -> None:
    """Check that the codec named by the fine-tune is the base's."""
    published = _read_name(raw["audio_encoder"]) or PUBLISHED_CODEC
    if name.removeprefix(_PRETRAINED) != published:
        raise UnsupportedCheckpoint(
            f"{file}: {path} names another codec than the base's, {published} (was {name!r}). "
            f"Export the codec too, as {COMPRESSION_MODEL}."
        )


def _limit_codebooks(settings: RunSettings, codebooks: int, codec: dict[str, Any]) -> None:
    if codebooks > count_codebooks(codec):
        allowed = f"The codec has {count_codebooks(codec)}."
        settings.refuse("compression_model_n_q", codebooks, allowed)
    limit_codebooks(codec, codebooks)


def _check_codec_fits(settings: RunSettings, model: LanguageModel, codec: dict[str, Any]) -> None:
    wanted = {
        "sample_rate": (model.sample_rate, codec["sampling_rate"]),
        "transformer_lm.card": (model.vocab_size, codec["codebook_size"]),
        "transformer_lm.n_q": (model.codebooks, count_codebooks(codec) * model.channels),
    }
    for path, (found, of_codec) in wanted.items():
        if found != of_codec:
            settings.refuse(path, found, f"It must be {of_codec}, as in the codec.")


def check_text_encoder(
    settings: RunSettings, model: LanguageModel, encoder: Mapping[str, Any]
) -> None:
    """Check that the text encoder named by a fine-tune is `encoder`, the base's.

    Raises: `UnsupportedCheckpoint`.
    """
    name = model.text_encoder.rpartition("/")[2]
    of_base = _read_name(encoder).rpartition("/")[2]
    shape = (encoder.get("d_model"), encoder.get("num_layers"), encoder.get("d_ff"))
    is_same = name == of_base if of_base else _TEXT_ENCODERS.get(name) == shape
    if not is_same:
        described = of_base or f"another encoder, with width {shape[0]} and depth {shape[1]}"
        settings.refuse(
            "conditioners.description.t5.name",
            model.text_encoder,
            f"The base model has {described}: name another one with --base.",
        )
    if model.hidden_size == encoder.get("d_model"):
        settings.refuse(
            "transformer_lm.dim",
            model.hidden_size,
            "A Hugging Face checkpoint has no text projection when it equals the width of T5.",
        )


def _read_name(part: Mapping[str, Any]) -> str:
    """Return the name of the model that a part was taken from, or an empty text.

    A path on the machine of its author names nothing.
    """
    name = str(part.get(_NAME) or "")
    return "" if name.startswith(("/", ".", "~")) else name
