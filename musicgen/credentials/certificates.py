"""Make a certificate chain for trials: nobody trusts it.

The profile of the certificates is that of C2PA 2.2, section 14.5: version 3, key usage
digitalSignature, extended key usage emailProtection, an authority key identifier, and no
self-signed certificate at the end of the chain.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from musicgen.credentials.library import TRIAL_ORGANIZATION
from musicgen.errors import NotWritable

KEY_NAME = "signing.key"
CHAIN_NAME = "signing.pem"
ANCHOR_NAME = "trial-root.pem"


def create_trial_chain(
    folder: Path, *, days: int = 90, starts: datetime | None = None
) -> tuple[Path, Path, Path]:
    """Write a key, its certificate chain and the root to `folder`, and return their paths.

    The chain is valid for `days` from `starts` (None is an hour ago). The root's key is thrown
    away. The key's file is readable by its owner only.

    Raises: `NotWritable`, also where a file exists already.
    """
    starts = starts or datetime.now(UTC) - timedelta(hours=1)
    ends = starts + timedelta(days=days)
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name, name = _build_name("trial root"), _build_name("trial signer")
    root = (
        _build_certificate(root_name, root_name, root_key.public_key(), root_key, starts, ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_build_usage(is_root=True), critical=True)
        .sign(root_key, SHA256())
    )
    signer = (
        _build_certificate(name, root_name, key.public_key(), root_key, starts, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_build_usage(is_root=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
        )
        .sign(root_key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    certificate, anchor = signer.public_bytes(Encoding.PEM), root.public_bytes(Encoding.PEM)
    paths = folder / KEY_NAME, folder / CHAIN_NAME, folder / ANCHOR_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, data, mode in zip(
            paths, (private, certificate + anchor, anchor), (0o600, 0o644, 0o644), strict=True
        ):
            _write_new(path, data, mode)
    except FileExistsError as error:
        problem = f"{error.filename} exists already, and nothing is overwritten. Name a new folder."
        raise NotWritable(problem) from error
    except OSError as error:
        raise NotWritable(f"cannot write to {folder}: {error.strerror}") from error
    return paths


def _write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that does not exist: a key in use is never overwritten."""
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(data)
    except BaseException:
        # Half a key would keep its name from the next try.
        path.unlink()
        raise


def _build_name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, TRIAL_ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, f"MusicGen {common_name}"),
        ]
    )


def _build_certificate(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    starts: datetime,
    ends: datetime,
) -> x509.CertificateBuilder:
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(starts)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(authority, critical=False)
    )


def _build_usage(*, is_root: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_root,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_root,
        crl_sign=is_root,
        encipher_only=False,
        decipher_only=False,
    )
