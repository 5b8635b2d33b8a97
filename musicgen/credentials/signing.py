"""Sign clips with content credentials (C2PA)."""

from __future__ import annotations

import io
import logging
import struct
from datetime import UTC, datetime

from musicgen.credentials.claim import Claim
from musicgen.credentials.library import (
    SIGNABLE,
    TRIAL_ORGANIZATION,
    open_context,
    require_library,
)
from musicgen.errors import GenerationError, SettingsError
from musicgen.settings import CredentialSettings
from musicgen.settings.credentials import CERTIFICATE_FILE

MANIFEST_BYTES = 2**16
"""Upper bound of a manifest without ingredient, for certificates of usual length."""
_UNTRUSTED = "signingCredential.untrusted"
# Sixteen samples of silence: enough to sign.
_TRIAL = (
    struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 68, b"WAVE", b"fmt ", 16, 1, 1, 32000, 64000, 2, 16)
    + struct.pack("<4sI", b"data", 32)
    + bytes(32)
)

logger = logging.getLogger(__name__)


class ContentSigner:
    """Signs files with one key; `sign` is safe to call from several threads.

    Raises: `MissingDependency`; `SettingsError` for a key or certificates that cannot sign.
    """

    def __init__(self, settings: CredentialSettings) -> None:
        require_library()
        from musicgen.credentials.key_files import read_signing_files

        assert settings.key_file is not None and settings.certificate_file is not None
        self._files = read_signing_files(settings.key_file, settings.certificate_file)
        self._timestamp_url = settings.timestamp_url
        self._context = open_context()
        self._check()

    @property
    def subject(self) -> str:
        """Subject of the certificate."""
        return self._files.subject

    @property
    def ends(self) -> datetime:
        """End of the certificate's validity."""
        return self._files.ends

    @property
    def is_for_trials(self) -> bool:
        """Whether the certificate is one of `musicgen credentials new`."""
        return TRIAL_ORGANIZATION in self.subject.replace("\\", "")

    @property
    def manifest_bytes_max(self) -> int:
        """Upper bound of the bytes of a manifest without ingredient."""
        return MANIFEST_BYTES

    def can_sign(self, output_format: str) -> bool:
        """Return whether files of this format can have a manifest."""
        return output_format in SIGNABLE

    def sign(
        self, data: bytes, output_format: str, claim: Claim, ingredient: bytes | None = None
    ) -> bytes:
        """Return a finished file with a signed manifest in it; nothing may change it afterwards.

        `output_format`: one of `SIGNABLE`. `ingredient`: archive of the input audio, see
        `musicgen.credentials.ingredient`. Two calls return different bytes: a manifest has random
        numbers and the time.

        Raises: `GenerationError`.
        """
        if datetime.now(UTC) > self.ends:
            raise GenerationError(
                "The certificate of the content credentials has expired, so the clip was not "
                "stored. Its operator must renew it."
            )
        import c2pa

        try:
            return self._sign(data, SIGNABLE[output_format], claim, ingredient, self._timestamp_url)
        except c2pa.C2paError as error:
            logger.error("signing a clip failed: %s", error)
            raise GenerationError(
                "The clip could not be signed, so it was not stored. The log of the server has "
                "the reason."
            ) from None

    def _sign(
        self,
        data: bytes,
        content_type: str,
        claim: Claim,
        ingredient: bytes | None,
        timestamp_url: str | None,
    ) -> bytes:
        import c2pa

        files, signed = self._files, io.BytesIO()
        info = c2pa.C2paSignerInfo(files.algorithm, files.chain, files.key, timestamp_url)
        definition = claim.to_json(content_type)
        with (
            c2pa.Signer.from_info(info) as signer,
            c2pa.Builder(definition, context=self._context) as builder,
        ):
            if ingredient is not None:
                builder.add_ingredient_from_archive(io.BytesIO(ingredient))
            builder.sign(signer, content_type, io.BytesIO(data), signed)
        return signed.getvalue()

    def _check(self) -> None:
        """Sign and verify a short sound: the library signs with a wrong key without a word."""
        import c2pa

        try:
            # The authority of time stamps is another machine, and may be away at the start.
            signed = self._sign(_TRIAL, SIGNABLE["wav"], Claim("trial", "none"), None, None)
            with c2pa.Reader(SIGNABLE["wav"], io.BytesIO(signed), context=self._context) as reader:
                results = reader.get_validation_results() or {}
        except c2pa.C2paError as error:
            self._refuse(str(error))
        failures = results.get("activeManifest", {}).get("failure", [])
        for failure in failures:
            if failure["code"] != _UNTRUSTED:
                self._refuse(failure.get("explanation") or failure["code"])

    def _refuse(self, reason: str) -> None:
        raise SettingsError(
            CERTIFICATE_FILE,
            f"cannot sign content credentials: {reason}",
            advice="docs/credentials.md says what C2PA asks of a certificate.",
        ) from None
