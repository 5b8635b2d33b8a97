"""Settings of the remote deployment: place, price and monthly cap. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, cast, get_args
from urllib.parse import urlsplit

from musicgen.errors import SettingsError
from musicgen.settings.declaration import check_settings, check_url, read_variables, setting

Policy = Literal["local", "remote", "fallback", "overflow"]
POLICIES: tuple[Policy, ...] = get_args(Policy)
PLATFORMS = ("replicate", "runpod", "hf")
URLS = ("http://", "https://")
_NUMBER_MAX = 1_000_000


@dataclass(frozen=True)
class RemoteSettings:
    """Settings of the remote deployment, and the policy for its use."""

    policy: Policy = setting(
        "MUSICGEN_POLICY",
        "text",
        "local",
        choices=POLICIES,
        help="Place of generation. `local`: always this machine. `remote`: always the remote "
        "deployment. `fallback`: the remote deployment if this machine fails. `overflow`: also if "
        "a job would wait here longer than MUSICGEN_OVERFLOW_SECONDS.",
    )
    target: str | None = setting(
        "MUSICGEN_REMOTE_TARGET",
        "text",
        form=f"{', '.join(PLATFORMS)} or the URL of a container",
        help="Remote deployment: a platform, or the URL of a container of this project.",
    )
    name: str | None = setting(
        "MUSICGEN_REMOTE_NAME",
        "text",
        help="Name on the platform: OWNER/MODEL on Replicate, the endpoint's id on RunPod, the "
        "endpoint's URL on Hugging Face.",
    )
    timeout_seconds: float = setting(
        "MUSICGEN_REMOTE_TIMEOUT_SECONDS",
        "number",
        900.0,
        least=1,
        most=24 * 3600,
        unit="seconds",
        help="Longest time for one remote job, in seconds, cold start included. The job is then "
        "cancelled.",
    )
    price: Decimal | None = setting(
        "MUSICGEN_REMOTE_PRICE",
        "amount",
        least=0,
        most=_NUMBER_MAX,
        unit="USD",
        help="Price of one second of remote compute, in USD. Required for a platform; 0 turns "
        "cost accounting off.",
    )
    factor: float = setting(
        "MUSICGEN_REMOTE_FACTOR",
        "number",
        2.0,
        least=0,
        most=_NUMBER_MAX,
        help="Seconds of remote compute for one second of audio. It gives the estimate reserved "
        "before a job is sent; the platform's own figure replaces the estimate.",
    )
    monthly_cap: Decimal | None = setting(
        "MUSICGEN_REMOTE_MONTHLY_CAP",
        "amount",
        least=0,
        most=_NUMBER_MAX,
        unit="USD",
        help="Spending limit for a calendar month (UTC), in USD. Required with a price above 0; 0 "
        "forbids all spending.",
    )
    overflow_seconds: float = setting(
        "MUSICGEN_OVERFLOW_SECONDS",
        "number",
        60.0,
        least=0,
        most=_NUMBER_MAX,
        unit="seconds",
        help="Longest expected wait on this machine, in seconds, before `overflow` sends a job to "
        "the remote deployment.",
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.target is not None:
            self._check_target(self.target)
        if self.policy != "local":
            self._check_complete()

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> RemoteSettings:
        """Read the settings. Raises: `SettingsError` with the name of the variable."""
        return cls(**read_variables(cls, os.environ if env is None else env))

    @property
    def is_url(self) -> bool:
        """Whether the target is a container's URL, not a platform."""
        return self.target is not None and self.target.startswith(URLS)

    @property
    def label(self) -> str:
        """Public name of the deployment: replicate:OWNER/MODEL, runpod:ENDPOINT, http://HOST:PORT.

        Holds no token, and of a URL only scheme, host and port.
        """
        if self.is_url:
            parts = urlsplit(cast(str, self.target))
            return f"{parts.scheme}://{parts.netloc}"
        name = self.name or ""
        if self.target == "hf":
            return f"hf:{urlsplit(name).netloc}"
        return f"{self.target}:{name.partition(':')[0]}"

    def _check_target(self, target: str) -> None:
        if target not in PLATFORMS and not self.is_url:
            allowed = f"must be {', '.join(PLATFORMS)} or a URL"
            raise SettingsError("MUSICGEN_REMOTE_TARGET", allowed, value=target)
        check_url("MUSICGEN_REMOTE_TARGET", target)
        check_url("MUSICGEN_REMOTE_NAME", self.name)
        if target == "hf" and not (self.name or "").startswith(URLS):
            needed = "the URL of the endpoint"
        elif not self.is_url and not self.name:
            needed = "the endpoint's id" if target == "runpod" else "OWNER/MODEL"
        else:
            return
        problem = f"must be {needed} when MUSICGEN_REMOTE_TARGET is {target}"
        raise SettingsError("MUSICGEN_REMOTE_NAME", problem, value=self.name)

    def _check_complete(self) -> None:
        """Raise `SettingsError` for a setting missing under this policy."""
        if self.target is None:
            problem = f"must be set when MUSICGEN_POLICY is {self.policy}"
            raise SettingsError("MUSICGEN_REMOTE_TARGET", problem)
        if self.price is None and not self.is_url:
            raise SettingsError(
                "MUSICGEN_REMOTE_PRICE",
                f"must be set when MUSICGEN_REMOTE_TARGET is {self.target}",
                advice="Give USD per second of compute; 0 turns cost accounting off.",
            )
        if self.price and self.monthly_cap is None:
            raise SettingsError(
                "MUSICGEN_REMOTE_MONTHLY_CAP",
                "must be set when MUSICGEN_REMOTE_PRICE is above 0",
                advice="Give USD per calendar month; 0 forbids all spending.",
            )


@dataclass(frozen=True)
class RemoteTokens:
    """Tokens of the remote platforms, under the variables of the platforms' own tools."""

    replicate: str | None = setting(
        "REPLICATE_API_TOKEN", "text", is_secret=True, help="Token for Replicate."
    )
    runpod: str | None = setting("RUNPOD_API_KEY", "text", is_secret=True, help="Token for RunPod.")
    huggingface: str | None = setting(
        "HF_TOKEN",
        "text",
        is_secret=True,
        help="Token for Hugging Face: endpoints and gated checkpoints.",
    )

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> RemoteTokens:
        """Read the tokens; an empty variable counts as unset."""
        return cls(**read_variables(cls, os.environ if env is None else env))
