"""Settings of the content credentials (C2PA) of clips. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from musicgen.errors import SettingsError
from musicgen.settings.declaration import check_settings, check_url, read_variables, setting

KEY_FILE = "MUSICGEN_CREDENTIALS_KEY_FILE"
CERTIFICATE_FILE = "MUSICGEN_CREDENTIALS_CERTIFICATE_FILE"
TIMESTAMP_URL = "MUSICGEN_CREDENTIALS_TIMESTAMP_URL"


@dataclass(frozen=True)
class CredentialSettings:
    """Files of the signing key and its certificates. With both None, clips are not signed."""

    key_file: Path | None = setting(
        KEY_FILE,
        "path",
        unset="clips are not signed",
        help="File of the private key that signs each wav, flac and mp3 (C2PA), in PEM without a "
        f"password. Needs {CERTIFICATE_FILE}.",
    )
    certificate_file: Path | None = setting(
        CERTIFICATE_FILE,
        "path",
        unset="clips are not signed",
        help="File of the certificate of this key and of those that signed it, in PEM, the key's "
        f"own first. Needs {KEY_FILE}.",
    )
    timestamp_url: str | None = setting(
        TIMESTAMP_URL,
        "text",
        unset="no time stamp: nothing leaves the machine",
        form="a URL",
        help="URL of a time stamping authority (RFC 3161). It is asked once for each clip, and a "
        "clip fails without its answer. Its stamp keeps a signature valid after the certificate "
        "has expired.",
    )

    def __post_init__(self) -> None:
        check_settings(self)
        check_url(TIMESTAMP_URL, self.timestamp_url)
        if self.timestamp_url and urlsplit(self.timestamp_url).scheme not in ("http", "https"):
            raise SettingsError(TIMESTAMP_URL, "must begin with http:// or https://")
        if (self.key_file is None) != (self.certificate_file is None):
            raise SettingsError(
                KEY_FILE,
                f"and {CERTIFICATE_FILE} must be set together",
                advice="Set both or neither.",
            )

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> CredentialSettings:
        """Read the settings. Raises: `SettingsError` with the name of the variable."""
        return cls(**read_variables(cls, os.environ if env is None else env))
