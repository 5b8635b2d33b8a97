"""Checks of environment variables: unknown names, bad values, rules between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from handlers.doctor.finding import Finding
from musicgen.errors import SettingsError
from musicgen.settings import ApiSettings, Settings
from musicgen.settings.declaration import list_misspelt
from musicgen.settings.names import is_service_link
from musicgen.settings.table import list_settings, list_variables

CHECK = "settings"


@dataclass(frozen=True)
class ReadSettings:
    """Settings with every wrong variable left out, and the faults of these variables."""

    settings: Settings
    api: ApiSettings
    faults: tuple[SettingsError, ...]


def read_all(env: Mapping[str, str]) -> ReadSettings:
    """Read the settings of `env` without stopping at the first fault."""
    faults = list_misspelt(env)
    left = {name: value for name, value in env.items() if name not in {f.variable for f in faults}}
    for group in list_settings().values():
        for declaration in group:
            try:
                declaration.read(left)
            except SettingsError as fault:
                faults.append(fault)
                left.pop(fault.variable, None)
    # What remains are rules between variables of one family.
    while True:
        try:
            return ReadSettings(Settings.from_env(left), ApiSettings.from_env(left), tuple(faults))
        except SettingsError as fault:
            faults.append(fault)
            without = _drop_family(left, fault.variable)
            left = without if len(without) < len(left) else {}


def check_settings(faults: tuple[SettingsError, ...], env: Mapping[str, str]) -> Iterator[Finding]:
    """Yield one finding for each fault, or one for all settings being right."""
    for fault in faults:
        yield Finding(CHECK, "error", str(fault))
    if not faults:
        given = sorted(
            name
            for name in list_variables()
            if env.get(name) and not is_service_link(name, env[name])
        )
        text = (
            f"set: {', '.join(given)}" if given else "no variable is set: all have their defaults"
        )
        yield Finding(CHECK, "ok", text)


def _drop_family(env: Mapping[str, str], variable: str) -> dict[str, str]:
    """Return `env` without the variables that begin like `variable`: MUSICGEN_BUCKET_..."""
    family = "_".join(variable.split("_")[:2])
    related = {"MUSICGEN_REMOTE": ("MUSICGEN_REMOTE", "MUSICGEN_POLICY")}.get(family, (family,))
    return {name: value for name, value in env.items() if not name.startswith(related)}
