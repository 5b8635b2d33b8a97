"""Table of all settings, for documentation and checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from musicgen.settings.bucket import BucketSettings
from musicgen.settings.credentials import CredentialSettings
from musicgen.settings.declaration import Declaration, read_declarations
from musicgen.settings.job_api import ApiSettings, ClientSettings, TracingSettings
from musicgen.settings.model_server import ModelServerSettings
from musicgen.settings.remote import RemoteSettings, RemoteTokens
from musicgen.settings.settings import Settings

GROUPS: Mapping[str, type[Any]] = {
    "Generation": Settings,
    "Bucket": BucketSettings,
    "Content credentials": CredentialSettings,
    "Remote deployment": RemoteSettings,
    "Tokens": RemoteTokens,
    "Job API": ApiSettings,
    "Model server": ModelServerSettings,
    "Client": ClientSettings,
    "Tracing": TracingSettings,
}
"""Heading to settings class."""


def list_settings() -> dict[str, list[Declaration]]:
    """Return the declarations of every variable, each once, by heading."""
    seen: set[str] = set()
    groups: dict[str, list[Declaration]] = {}
    for heading, settings_class in GROUPS.items():
        declared = read_declarations(settings_class).values()
        groups[heading] = [d for d in declared if d.variable not in seen]
        seen |= {d.variable for d in declared}
    return groups


def list_variables() -> set[str]:
    """Return the names of all variables, fallbacks included."""
    declared = [d for group in list_settings().values() for d in group]
    return {name for d in declared for name in (d.variable, d.fallback) if name}
