"""Keys and certificates that cannot sign are found at the start, and named."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from musicgen.credentials.claim import Claim
from musicgen.credentials.signing import ContentSigner
from musicgen.errors import GenerationError, NotWritable, SettingsError
from musicgen.settings import CredentialSettings
from tests.support.signing_keys import SigningKeys, make_keys

PEM = Encoding.PEM, PrivateFormat.TraditionalOpenSSL


def _with_password(keys: SigningKeys) -> bytes:
    key = load_pem_private_key(keys.key.read_bytes(), None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hush"))


KEYS: dict[str, tuple[Callable[[SigningKeys], bytes], str]] = {
    "another": (
        lambda _: ec.generate_private_key(ec.SECP256R1()).private_bytes(*PEM, NoEncryption()),
        "is not the key of the first certificate",
    ),
    "text": (lambda _: b"hello", "holds no private key in PEM"),
    "password": (_with_password, "has a password"),
    "small": (
        lambda _: rsa.generate_private_key(65537, 1024).private_bytes(*PEM, NoEncryption()),
        "holds a key of an unsupported kind",
    ),
    "kind": (
        lambda _: dsa.generate_private_key(1024).private_bytes(*PEM, NoEncryption()),
        "holds a key of an unsupported kind",
    ),
    "certificate": (lambda keys: keys.chain.read_bytes(), "holds no private key in PEM"),
}


@pytest.mark.parametrize("name", KEYS)
def test_a_wrong_key_is_named_without_its_content(
    keys: SigningKeys, name: str, tmp_path: Path
) -> None:
    build, problem = KEYS[name]
    path = tmp_path / "bad.key"
    path.write_bytes(build(keys))
    with pytest.raises(SettingsError, match=problem) as caught:
        ContentSigner(CredentialSettings(path, keys.chain))
    assert caught.value.variable == "MUSICGEN_CREDENTIALS_KEY_FILE"
    lines = [line for line in path.read_text().splitlines() if len(line) > 10]
    assert not any(line in str(caught.value) for line in lines)


def test_a_key_in_openssl_s_older_form_signs(keys: SigningKeys, tmp_path: Path) -> None:
    key = load_pem_private_key(keys.key.read_bytes(), None)
    path = tmp_path / "sec1.key"
    path.write_bytes(key.private_bytes(*PEM, NoEncryption()))
    assert b"BEGIN EC " in path.read_bytes()
    ContentSigner(CredentialSettings(path, keys.chain))


@pytest.mark.parametrize(
    ("starts", "problem"), [(-9, "expired on 20"), (9, "is valid only from 20")]
)
def test_a_certificate_of_another_time_is_named(starts: int, problem: str, tmp_path: Path) -> None:
    other = make_keys(tmp_path, days=5, starts=datetime.now(UTC) + timedelta(days=starts))
    with pytest.raises(SettingsError, match=problem):
        ContentSigner(other.settings)


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"", "holds no certificates"), (b"x" * (2**20 + 1), "more than 1048576 bytes")],
)
def test_a_wrong_chain_is_named(
    keys: SigningKeys, content: bytes, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "chain.pem"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=problem):
        ContentSigner(CredentialSettings(keys.key, path))
    with pytest.raises(SettingsError, match="names no file"):
        ContentSigner(CredentialSettings(keys.key, tmp_path / "missing"))


def test_a_certificate_that_c2pa_forbids_is_named(keys: SigningKeys, tmp_path: Path) -> None:
    """The library refuses a self-signed certificate only when it signs."""
    key = load_pem_private_key(keys.key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    own = x509.load_pem_x509_certificates(keys.chain.read_bytes())[0]
    itself = (
        x509.CertificateBuilder(own.subject, own.subject, key.public_key(), own.serial_number)
        .not_valid_before(own.not_valid_before_utc)
        .not_valid_after(own.not_valid_after_utc)
        .sign(key, SHA256())
    )
    path = tmp_path / "self.pem"
    path.write_bytes(itself.public_bytes(Encoding.PEM))
    with pytest.raises(
        SettingsError, match=r"cannot sign content credentials: .*the certificate is"
    ):
        ContentSigner(CredentialSettings(keys.key, path))


def test_a_certificate_that_expires_meanwhile_stops_the_clip(tmp_path: Path) -> None:
    starts = datetime.now(UTC) - timedelta(days=1, seconds=-2)
    signer = ContentSigner(make_keys(tmp_path, days=1, starts=starts).settings)
    while datetime.now(UTC) <= signer.ends:
        time.sleep(0.1)
    with pytest.raises(GenerationError, match="has expired"):
        signer.sign(b"", "wav", Claim("m", "l"))


def test_key_and_certificate_come_together(keys: SigningKeys) -> None:
    with pytest.raises(SettingsError, match="must be set together"):
        CredentialSettings(key_file=keys.key)
    for url in ("file:///etc/passwd", "https://user:hush@example.com"):
        with pytest.raises(SettingsError, match="MUSICGEN_CREDENTIALS_TIMESTAMP_URL") as caught:
            CredentialSettings(keys.key, keys.chain, url)
        assert "hush" not in str(caught.value)


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    made = make_keys(tmp_path)
    before = made.key.read_bytes()
    assert made.key.stat().st_mode & 0o077 == 0
    with pytest.raises(NotWritable, match=f"{made.key.name} exists already"):
        make_keys(tmp_path)
    assert made.key.read_bytes() == before
