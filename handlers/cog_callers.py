"""Callers of replicate/cog-musicgen: the same meaning here, or a line in the logs.

docs/cog_musicgen.md is the table of all its inputs. Source: predict.py of replicate/cog-musicgen at
commit 647e795.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from musicgen.errors import InvalidRequest
from musicgen.request import request_fields
from musicgen.request.fields import FieldSpec

MULTI_BAND_DIFFUSION = FieldSpec(
    kind="boolean",
    name="multi_band_diffusion",
    default=False,
    help="Has no effect: decoder chooses it here. For callers of replicate/cog-musicgen.",
    label="MultiBand Diffusion",
    group="File",
    example={"prompt": "solo flute", "multi_band_diffusion": True},
)
"""Input of Cog's runner alone. Without it Cog would drop the value without a word."""
_NO_DIFFUSION = "multi_band_diffusion has no effect: set decoder to multi_band_diffusion"
_NO_SOUND = "{} has no effect without input_audio"
_ZERO_SEED = "the seed 0 is a seed like any other; for a random one send null or -1"
_PARTS = ("continuation_start", "continuation_end")


def translate(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the fields of a request, and a sentence for each value with another meaning here."""
    fields, notes = dict(arguments), []
    if fields.pop(MULTI_BAND_DIFFUSION.name, None) is True:
        notes.append(_NO_DIFFUSION)
    if fields.get("input_audio") is None and fields.get("continuation") is not True:
        for name in _PARTS:
            if _has_effect(name, fields.get(name)):
                del fields[name]
                notes.append(_NO_SOUND.format(name))
    if fields.get("seed") == 0:
        notes.append(_ZERO_SEED)
    return fields, tuple(notes)


def _has_effect(name: str, value: object) -> bool:
    """Return whether a value is allowed and not the default; any other one is refused later."""
    spec = request_fields()[name]
    try:
        spec.check(value)
    except InvalidRequest:
        return False
    return bool(value != spec.default)
