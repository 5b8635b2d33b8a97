"""Checks of the key and the certificates of content credentials."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from handlers.doctor.finding import Finding
from handlers.doctor.plan import ServerPlan
from musicgen.credentials.opening import open_signer

CHECK = "credentials"
_SOON = timedelta(days=30)
_FOR_OTHERS = 0o077


def check_credentials(plan: ServerPlan) -> Iterator[Finding]:
    """Yield whether clips are signed, by signing a short sound.

    Raises: `MissingDependency`; `SettingsError` for a key or certificates that cannot sign.
    """
    settings = plan.settings.credentials
    signer = open_signer(settings)
    if signer is None or settings.key_file is None:
        yield Finding(CHECK, "ok", "clips are marked as made by an AI model, and not signed")
        return
    yield Finding(
        CHECK, "ok", f"wav, flac and mp3 are signed as {signer.subject}, until {signer.ends:%F}"
    )
    if signer.ends - datetime.now(UTC) < _SOON:
        text = f"the certificate expires on {signer.ends:%F}. No clip can be stored afterwards"
        yield Finding(CHECK, "warning", f"{text}: renew it.")
    if signer.is_for_trials:
        text = "the certificate is one of `musicgen credentials new`: nobody trusts it"
        yield Finding(CHECK, "warning", text)
    if settings.key_file.stat().st_mode & _FOR_OTHERS:
        text = f"other users may read {settings.key_file}. Run chmod 600 on it."
        yield Finding(CHECK, "warning", text)
