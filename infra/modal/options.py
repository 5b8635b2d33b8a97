"""Options of the app on Modal, read from variables when it is deployed.

| variable | meaning | default |
|---|---|---|
| MODAL_APP_NAME | name of the app | musicgen |
| MODAL_APP_MODEL | a name from `musicgen models`, or what MUSICGEN_MODEL takes | small |
| MODAL_APP_GPU | a GPU, several by preference (`L4,A10`), or `none`: the processor | L4 |
| MODAL_APP_REGION | one region or several (`us-east,eu-west`) | any |
| MODAL_APP_MIN, MODAL_APP_MAX | fewest and most containers | 0, 3 |
| MODAL_APP_IDLE | seconds until an idle container stops | 60 |
| MODAL_APP_SLOTS | clips at once in one container (MUSICGEN_SLOTS) | 8 |
| MODAL_APP_SNAPSHOT | part of a start kept in a snapshot: `off`, `cpu`, `gpu` | cpu |
| MODAL_APP_SECRETS | names of secrets of Modal with settings, as the bucket's | none |
| MODAL_APP_ACCESS | who may call the web address: `key` (a proxy token), `public`, `off` | key |
| MODAL_APP_CALL_SECONDS | seconds until Modal ends a call | 1200 |

The image holds them as MODAL_APP_OPTIONS, so that a container decides as the deploying machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

OPTIONS_VARIABLE = "MODAL_APP_OPTIONS"
PREFIX = "MODAL_APP_"
SNAPSHOTS = ("off", "cpu", "gpu")
ACCESSES = ("key", "public", "off")
LARGEST = {"slots": 64, "containers": 100, "idle": 1200, "call_seconds": 86_400}
"""Limits; Modal keeps an idle container for at most 20 minutes, and a call for a day.
Source: https://modal.com/docs/guide/timeouts"""


class OptionError(ValueError):
    """Value of an option outside its limits. The message names the variable and the remedy."""


@dataclass(frozen=True)
class ModalOptions:
    """Options of the app. Empty `gpu`: the processor; empty `region`: any.

    Raises: `OptionError`.
    """

    name: str = "musicgen"
    model: str = "small"
    gpu: tuple[str, ...] = ("L4",)
    region: tuple[str, ...] = ()
    min: int = 0
    max: int = 3
    idle: int = 60
    slots: int = 8
    snapshot: str = "cpu"
    secrets: tuple[str, ...] = ()
    access: str = "key"
    call_seconds: int = 1200

    def __post_init__(self) -> None:
        _check_range("min", self.min, 0, LARGEST["containers"])
        _check_range("max", self.max, max(1, self.min), LARGEST["containers"])
        _check_range("idle", self.idle, 2, LARGEST["idle"])
        _check_range("slots", self.slots, 1, LARGEST["slots"])
        _check_range("call_seconds", self.call_seconds, 10, LARGEST["call_seconds"])
        _check_choice("snapshot", self.snapshot, SNAPSHOTS)
        _check_choice("access", self.access, ACCESSES)
        if self.snapshot == "gpu" and not self.gpu:
            raise OptionError(f"{PREFIX}SNAPSHOT: gpu needs a GPU. Use cpu, or name a GPU.")
        if not self.name or not self.model:
            raise OptionError(f"{PREFIX}NAME and {PREFIX}MODEL must not be empty.")

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> ModalOptions:
        """Read the variables; in a container, those of its deployment.

        Raises: `OptionError`, also for an unknown variable with the prefix.
        """
        if OPTIONS_VARIABLE in env:
            held: dict[str, Any] = json.loads(env[OPTIONS_VARIABLE])
            for name, value in held.items():
                held[name] = tuple(value) if isinstance(value, list) else value
            return cls(**held)
        given = {name.removeprefix(PREFIX).lower(): env[name] for name in env if _is_ours(name)}
        kinds = {field.name: type(field.default) for field in fields(cls)}
        for name in given:
            if name not in kinds:
                known = ", ".join(PREFIX + each.upper() for each in kinds)
                raise OptionError(f"{PREFIX}{name.upper()} is unknown. There are {known}.")
        values: dict[str, Any] = {
            name: _parse(name, text, kinds[name]) for name, text in given.items()
        }
        return cls(**values)

    @property
    def loads_before_snapshot(self) -> bool:
        """Whether the model is in the snapshot: a snapshot without GPU memory cannot hold one."""
        return self.snapshot == "gpu" or not self.gpu

    def to_variables(self) -> dict[str, str]:
        """Return the variables to read these options from."""
        return {
            PREFIX + name.upper(): (",".join(value) if isinstance(value, tuple) else str(value))
            for name, value in asdict(self).items()
        }

    def to_json(self) -> str:
        """Return the value of MODAL_APP_OPTIONS."""
        return json.dumps(asdict(self), sort_keys=True)


def name_packed(model: str) -> str:
    """Return the name of a model's packed file in the volume."""
    return f"{model.replace('/', '--')}.packed"


def _is_ours(name: str) -> bool:
    return name.startswith(PREFIX) and name != OPTIONS_VARIABLE


def _parse(name: str, text: str, kind: type) -> str | int | tuple[str, ...]:
    if kind is int:
        if not text.isascii() or not text.isdigit():
            raise OptionError(f"{PREFIX}{name.upper()} must be a whole number (it was {text!r}).")
        return int(text)
    if kind is tuple:
        names = tuple(part.strip() for part in text.split(",") if part.strip())
        return () if names == ("none",) else names
    return text.strip()


def _check_range(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise OptionError(
            f"{PREFIX}{name.upper()} must be between {least} and {most} (it was {value})."
        )


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise OptionError(
            f"{PREFIX}{name.upper()} must be one of {', '.join(allowed)} (it was {value!r})."
        )
