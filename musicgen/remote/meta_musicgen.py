"""Requests for meta/musicgen on Replicate, which takes fewer fields than our own deployments.

Its fields have the same names and, where it has them, the same defaults; some are whole numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from musicgen import catalog
from musicgen.remote.errors import Refused

NAME = "meta/musicgen"
LICENCE = catalog.MUSICGEN_LICENCE
DEFAULT_MODEL = "stereo-melody-large"
_MODELS = ("stereo-melody-large", "stereo-large", "melody-large", "large")
_STRATEGIES = ("loudness", "peak", "rms", "clip")
_FORMATS = ("wav", "mp3")
_SAME = frozenset({"prompt", "prompts", "variations", "top_k", "top_p", "temperature", "seed"})
_WHOLE = ("duration", "classifier_free_guidance", "continuation_start", "continuation_end")
_AS_IT_IS: Mapping[str, object] = {"sample_rate": 32000, "steady_level": False}
"""What it does anyway."""


def means_it(name: str) -> bool:
    """Whether `name`, with or without a version, is that model."""
    return name.partition(":")[0].lower() == NAME


def translated(fields: Mapping[str, Any]) -> dict[str, Any]:
    """`fields`, which hold what differs from the defaults, as meta/musicgen takes them.

    Raises: `Refused` for what it cannot do.
    """
    sent: dict[str, Any] = {"model_version": _model(fields)}
    for name, value in fields.items():
        if name in _SAME:
            sent[name] = value
        elif name in _WHOLE:
            sent[name] = _whole(name, value)
        elif name == "input_audio":
            sent[name] = _address(value)
        elif name == "continuation":
            sent[name] = value
        elif name == "output_format":
            sent[name] = _one_of(name, value, _FORMATS)
        elif name == "normalization_strategy":
            sent[name] = _one_of(name, value, _STRATEGIES)
        elif name != "model_version" and value != _AS_IT_IS.get(name):
            raise _refused(f"it takes no {name}")
    if sent.get("seed") == 0:
        raise _refused("it takes the seed 0 for a random one")
    return sent


def _model(fields: Mapping[str, Any]) -> str:
    given = fields.get("model_version")
    if given is None:
        return DEFAULT_MODEL
    entry = catalog.find(given)
    name = _one_of("model_version", entry.name if entry else given, _MODELS)
    if fields.get("input_audio") and not fields.get("continuation") and "melody" not in name:
        raise _refused(f"{name} follows no melody")
    return name


def _whole(name: str, value: float) -> int:
    if value != int(value):
        raise _refused(f"{name}={value:g}, but it takes whole numbers")
    return int(value)


def _address(audio: str) -> str:
    """It knows base64 only in a data: URI."""
    known = audio.lower().startswith(("http://", "https://", "data:"))
    return audio if known else f"data:audio/wav;base64,{audio}"


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise _refused(f"{name}={value!r}, but it takes {', '.join(choices)}")
    return value


def _refused(why: str) -> Refused:
    return Refused(f"Replicate's {NAME} cannot make this", why, of_the_request=True)
