"""Keys and certificates that tests sign clips with, made for each test."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from musicgen.credentials.certificates import create_trial_chain
from musicgen.credentials.report import CredentialReport, read_credentials
from musicgen.settings import CredentialSettings


@dataclass(frozen=True)
class SigningKeys:
    key: Path
    chain: Path
    root: Path

    @property
    def settings(self) -> CredentialSettings:
        return CredentialSettings(self.key, self.chain)

    @property
    def env(self) -> dict[str, str]:
        return {
            "MUSICGEN_CREDENTIALS_KEY_FILE": str(self.key),
            "MUSICGEN_CREDENTIALS_CERTIFICATE_FILE": str(self.chain),
        }

    @property
    def secrets(self) -> list[str]:
        """Lines of the private key."""
        return [line for line in self.key.read_text().splitlines() if "PRIVATE" not in line]

    def read(self, data: bytes) -> CredentialReport:
        """What c2pa's reader says of a file, with this root as the only trusted one."""
        return read_credentials(data, self.root.read_text())


def make_keys(folder: Path, *, days: int = 90, starts: datetime | None = None) -> SigningKeys:
    return SigningKeys(*create_trial_chain(folder, days=days, starts=starts))
