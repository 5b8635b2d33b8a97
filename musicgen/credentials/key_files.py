"""Read and check the signing key and its certificates."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from musicgen.errors import SettingsError
from musicgen.settings.credentials import CERTIFICATE_FILE, KEY_FILE

FILE_MAX = 2**20
"""Limit of a key's and a chain's file in bytes; real ones have some thousands."""
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_RSA_LEAST = 2048
_KINDS = "Allowed are EC keys (P-256, P-384, P-521), Ed25519 and RSA from 2048 bits."


@dataclass(frozen=True)
class SigningFiles:
    """Key and certificates, as c2pa takes them. The key is in no text of this object.

    `algorithm`: C2PA's name. `key`: PKCS#8 in PEM. `chain`: PEM. `starts`, `ends`: the validity of
    the key's own certificate.
    """

    algorithm: str
    key: bytes = field(repr=False)
    chain: bytes = field(repr=False)
    subject: str
    starts: datetime
    ends: datetime


def read_signing_files(key_file: Path, certificate_file: Path) -> SigningFiles:
    """Read a key and its certificates, and check that they belong together and are valid today.

    Raises: `SettingsError`, without any content of the files.
    """
    chain = _read(CERTIFICATE_FILE, certificate_file)
    try:
        own = x509.load_pem_x509_certificates(chain)[0]
    except ValueError:
        _refuse(CERTIFICATE_FILE, "holds no certificates in PEM", certificate_file)
    data = _read(KEY_FILE, key_file)
    try:
        key = load_pem_private_key(data, None)
    except TypeError:
        _refuse(KEY_FILE, "has a password", key_file, "Store the key without one.")
    except ValueError:
        _refuse(KEY_FILE, "holds no private key in PEM", key_file)
    except UnsupportedAlgorithm:
        _refuse(KEY_FILE, "holds a key of an unsupported kind", key_file, _KINDS)
    algorithm = _find_algorithm(key)
    if algorithm is None:
        _refuse(KEY_FILE, "holds a key of an unsupported kind", key_file, _KINDS)
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if key.public_key().public_bytes(*form) != own.public_key().public_bytes(*form):
        _refuse(
            KEY_FILE,
            f"is not the key of the first certificate in {CERTIFICATE_FILE}",
            key_file,
            "The key's own certificate comes first in its file.",
        )
    files = SigningFiles(
        algorithm,
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        chain,
        own.subject.rfc4514_string(),
        own.not_valid_before_utc,
        own.not_valid_after_utc,
    )
    now = datetime.now(UTC)
    if files.ends < now:
        _refuse(CERTIFICATE_FILE, f"expired on {files.ends:%Y-%m-%d}", certificate_file)
    if files.starts > now:
        _refuse(CERTIFICATE_FILE, f"is valid only from {files.starts:%Y-%m-%d}", certificate_file)
    return files


def _find_algorithm(key: object) -> str | None:
    """Return C2PA's name of the algorithm of a private key. Source: C2PA 2.2, section 13.2."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return _CURVES.get(key.curve.name)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _RSA_LEAST:
        return "ps256"
    return None


def _read(variable: str, path: Path) -> bytes:
    try:
        # A pipe could block for ever.
        if not path.is_file():
            _refuse(variable, "names no file", path)
        with path.open("rb") as file:
            data = file.read(FILE_MAX + 1)
    except OSError as error:
        _refuse(variable, f"cannot be read: {error.strerror}", path)
    if len(data) > FILE_MAX:
        _refuse(variable, f"names a file of more than {FILE_MAX} bytes", path)
    return data


def _refuse(variable: str, problem: str, path: Path, advice: str = "") -> NoReturn:
    raise SettingsError(variable, problem, value=path, advice=advice) from None
