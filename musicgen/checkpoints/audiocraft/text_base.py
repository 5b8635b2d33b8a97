"""A plain T5 as the base of a conversion.

audiocraft's files only name their text encoder. Those of AudioGen hold everything else, so no whole
checkpoint is needed beside them. A T5 on the hub also has a decoder, which no model here uses.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from musicgen.catalog import UNKNOWN_LICENCE
from musicgen.checkpoints.audiocraft.files import COMPRESSION_MODEL, Package
from musicgen.checkpoints.card import combine_licences
from musicgen.errors import UnsupportedCheckpoint

_PREFIXES = ("shared.", "encoder.")
_SHARED, _TIED = "shared.weight", "encoder.embed_tokens.weight"


def is_text_encoder(raw: Mapping[str, Any]) -> bool:
    """Return whether a `config.json` is that of T5 alone."""
    return raw.get("model_type") == "t5"


def build_base(raw: Mapping[str, Any], codec: Package | None, label: str) -> dict[str, Any]:
    """Build the configuration of a text model with the T5 of `raw`, its other parts still empty.

    `label`: name of the T5, for the error.
    Raises: `UnsupportedCheckpoint` for files without their own codec.
    """
    if codec is None or codec.pretrained is not None:
        raise UnsupportedCheckpoint(
            f"{label} is a text encoder without a codec, and the files have no {COMPRESSION_MODEL} "
            "with weights: name a whole model with --base."
        )
    return {
        "model_type": "musicgen",
        "architectures": ["MusicgenForConditionalGeneration"],
        "is_encoder_decoder": True,
        "text_encoder": dict(raw),
        "audio_encoder": {},
        "decoder": {"model_type": "musicgen_decoder"},
    }


def choose_tensors(names: Collection[str]) -> list[str]:
    """Return the names of the encoder's tensors among those of a T5, its table of words once."""
    second = _TIED if _SHARED in names else None
    return [name for name in names if name.startswith(_PREFIXES) and name != second]


def combine_with_encoder(own: str, encoder: str) -> str:
    """Return the licence of a model whose text encoder has the licence `encoder`.

    The encoder's licence says nothing about a model without a licence of its own.
    """
    return UNKNOWN_LICENCE if own == UNKNOWN_LICENCE else combine_licences(own, encoder)
