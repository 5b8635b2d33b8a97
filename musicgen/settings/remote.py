"""What is made by a deployment elsewhere, and for how much. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, cast, get_args
from urllib.parse import urlsplit

from musicgen.errors import SettingsError

Policy = Literal["local", "remote", "fallback", "overflow"]
POLICIES: tuple[Policy, ...] = get_args(Policy)
PLATFORMS = ("replicate", "runpod", "hf")
URLS = ("http://", "https://")
VARIABLES = {
    "policy": "MUSICGEN_POLICY",
    "target": "MUSICGEN_REMOTE_TARGET",
    "name": "MUSICGEN_REMOTE_NAME",
    "timeout_seconds": "MUSICGEN_REMOTE_TIMEOUT_SECONDS",
    "price": "MUSICGEN_REMOTE_PRICE",
    "factor": "MUSICGEN_REMOTE_FACTOR",
    "monthly_cap": "MUSICGEN_REMOTE_MONTHLY_CAP",
    "overflow_seconds": "MUSICGEN_OVERFLOW_SECONDS",
}
"""Field to variable of the environment."""
_TIMEOUT_MAX_SECONDS = 24 * 3600
_NUMBER_MAX = 1_000_000


@dataclass(frozen=True)
class RemoteSettings:
    """`policy`: local makes everything here, remote everything elsewhere; fallback goes elsewhere
    with what cannot be made here, overflow with that and with what would wait here for longer than
    `overflow_seconds`. `target`: replicate, runpod, hf, or the URL of a container of ours, with the
    deployment's `name` where it is a platform.

    `price`: USD for a second of compute there. `factor`: seconds of compute for a second of audio,
    for the estimate that is reserved before anything is asked. `monthly_cap`: USD for a calendar
    month (UTC); 0 lets nothing be spent.
    """

    policy: Policy = "local"
    target: str | None = None
    name: str | None = None
    timeout_seconds: float = 900.0
    price: Decimal | None = None
    factor: float = 2.0
    monthly_cap: Decimal | None = None
    overflow_seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise _wrong("policy", self.policy, f"choose one of {', '.join(POLICIES)}")
        for field, least, most in (
            ("timeout_seconds", 1, _TIMEOUT_MAX_SECONDS),
            ("price", 0, _NUMBER_MAX),
            ("factor", 0, _NUMBER_MAX),
            ("monthly_cap", 0, _NUMBER_MAX),
            ("overflow_seconds", 0, _NUMBER_MAX),
        ):
            value = getattr(self, field)
            if value is not None and not least <= value <= most:
                raise _wrong(field, value, f"from {least} to {most}")
        if self.target is not None:
            self._check_target(self.target)
        if self.policy != "local":
            self._check_complete()

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> RemoteSettings:
        """An empty variable counts as unset. Raises: `SettingsError` naming the variable."""
        texts = {field: env.get(variable) for field, variable in VARIABLES.items()}
        given: dict[str, Any] = {field: text for field, text in texts.items() if text}
        for field in ("price", "monthly_cap"):
            if field in given:
                given[field] = _number(field, given[field])
        for field in ("timeout_seconds", "factor", "overflow_seconds"):
            if field in given:
                given[field] = float(_number(field, given[field]))
        return cls(**given)

    @property
    def is_url(self) -> bool:
        return self.target is not None and self.target.startswith(URLS)

    @property
    def made_by(self) -> str:
        """Who makes the clips, such as replicate:OWNER/MODEL, runpod:ENDPOINT or http://HOST:PORT:
        never a token, and nothing of a URL but where it leads."""
        if self.is_url:
            parts = urlsplit(cast(str, self.target))
            return f"{parts.scheme}://{parts.netloc}"
        name = self.name or ""
        if self.target == "hf":
            return f"hf:{urlsplit(name).netloc}"
        return f"{self.target}:{name.partition(':')[0]}"

    def _check_target(self, target: str) -> None:
        if target not in PLATFORMS and not self.is_url:
            raise _wrong("target", target, f"one of {', '.join(PLATFORMS)}, or a URL")
        for field, value in (("target", target), ("name", self.name or "")):
            if "@" in urlsplit(value).netloc:
                allowed = "no user name and no password: they would stand in logs and errors"
                raise _wrong(field, "a URL with a password", allowed)
        if target == "hf" and not (self.name or "").startswith(URLS):
            raise _wrong("name", self.name, "hf needs the URL of the endpoint")
        if not self.is_url and not self.name:
            needed = "the endpoint's id" if target == "runpod" else "OWNER/MODEL"
            raise _wrong("name", self.name, f"{target} needs {needed}")

    def _check_complete(self) -> None:
        policy = f"{VARIABLES['policy']}={self.policy}"
        if self.target is None:
            raise _wrong("target", None, f"{policy} needs it: where clips are made")
        if self.price is None and not self.is_url:
            allowed = (
                f"{self.target} is paid for: say USD for a second of compute, which counts what "
                "is spent; 0 counts nothing"
            )
            raise _wrong("price", None, allowed)
        if self.price and self.monthly_cap is None:
            allowed = (
                f"with {VARIABLES['price']} above 0 say how many USD may be spent in a month; "
                "0 lets nothing be spent"
            )
            raise _wrong("monthly_cap", None, allowed)


def _number(field: str, text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise _wrong(field, text, "a number such as 0.5") from None
    if not number.is_finite():
        raise _wrong(field, text, "a number such as 0.5")
    return number


def _wrong(field: str, value: object, allowed: str) -> SettingsError:
    return SettingsError(VARIABLES[field], "" if value is None else str(value), allowed)
