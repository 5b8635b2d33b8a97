"""Requests for meta/musicgen on Replicate, with fewer fields than our own deployments.

The fields there have the same names and defaults; some are whole numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from musicgen import catalog
from musicgen.remote.errors import RemoteRefusal

NAME = "meta/musicgen"
LICENCE = catalog.MUSICGEN_LICENCE
DEFAULT_MODEL = "stereo-melody-large"
_MODELS = ("stereo-melody-large", "stereo-large", "melody-large", "large")
_STRATEGIES = ("loudness", "peak", "rms", "clip")
_FORMATS = ("wav", "mp3")
_COPIED = frozenset({"prompt", "prompts", "variations", "top_k", "top_p", "temperature", "seed"})
_WHOLE = ("duration", "classifier_free_guidance", "continuation_start", "continuation_end")
_FIXED: Mapping[str, object] = {"sample_rate": 32000, "steady_level": False}
"""Its fixed behaviour: values equal to these need not be sent."""


def is_meta_musicgen(name: str) -> bool:
    """Whether `name`, with or without a version, is this model."""
    return name.partition(":")[0].lower() == NAME


def translate(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields for meta/musicgen, from the fields that differ from their defaults.

    Raises: `RemoteRefusal` for a request beyond this model.
    """
    inputs: dict[str, Any] = {"model_version": _choose_model(fields)}
    for name, value in fields.items():
        if name in _COPIED:
            inputs[name] = value
        elif name in _WHOLE:
            inputs[name] = _to_integer(name, value)
        elif name == "input_audio":
            inputs[name] = _to_address(value)
        elif name == "continuation":
            inputs[name] = value
        elif name == "output_format":
            inputs[name] = _check_choice(name, value, _FORMATS)
        elif name == "normalization_strategy":
            inputs[name] = _check_choice(name, value, _STRATEGIES)
        elif name != "model_version" and value != _FIXED.get(name):
            raise _refuse(f"it has no field {name}")
    if inputs.get("seed") == 0:
        raise _refuse("it reads the seed 0 as a random seed")
    return inputs


def _choose_model(fields: Mapping[str, Any]) -> str:
    requested = fields.get("model_version")
    if requested is None:
        return DEFAULT_MODEL
    entry = catalog.find(requested)
    name = _check_choice("model_version", entry.name if entry else requested, _MODELS)
    if fields.get("input_audio") and not fields.get("continuation") and "melody" not in name:
        raise _refuse(f"{name} cannot follow a melody")
    return name


def _to_integer(name: str, value: float) -> int:
    if value != int(value):
        raise _refuse(f"{name} must be a whole number (was {value:g})")
    return int(value)


def _to_address(audio: str) -> str:
    """Return the audio as a URL or a data: URI; plain base64 is not accepted there."""
    known = audio.lower().startswith(("http://", "https://", "data:"))
    return audio if known else f"data:audio/wav;base64,{audio}"


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise _refuse(f"{name} must be one of {', '.join(choices)} (was {value!r})")
    return value


def _refuse(reason: str) -> RemoteRefusal:
    return RemoteRefusal(f"Replicate's {NAME} cannot do this", reason, is_request_fault=True)
