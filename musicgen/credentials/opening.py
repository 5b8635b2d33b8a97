"""Open the signer where a key is set. A worker without one imports nothing for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from musicgen.settings import CredentialSettings

if TYPE_CHECKING:
    from musicgen.credentials.signing import ContentSigner


def open_signer(settings: CredentialSettings) -> ContentSigner | None:
    """Return the signer of the settings, or None without a key.

    Raises: the errors of `ContentSigner`.
    """
    if settings.key_file is None:
        return None
    from musicgen.credentials.signing import ContentSigner

    return ContentSigner(settings)
