"""Seal the clips of a request: sign their files last, after all tags."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from musicgen.notes import ResultNote
from musicgen.request import GenerationRequest

if TYPE_CHECKING:
    from musicgen.credentials.claim import Claim, Relation
    from musicgen.credentials.ingredient import Ingredient
    from musicgen.credentials.signing import ContentSigner

STREAM_UNSIGNED = ResultNote("stream_credentials")
UNSUPPORTED = ResultNote("credentials_unsupported")


@dataclass(frozen=True)
class Signature:
    """What the files of one request are signed with."""

    signer: ContentSigner
    claim: Claim
    archive: bytes | None = None
    """Input audio with its credentials, see `musicgen.credentials.ingredient`."""


@dataclass(frozen=True)
class Sealing:
    """Signature of the clips of one request; None leaves files as they are."""

    signature: Signature | None = None
    notes: tuple[ResultNote, ...] = ()

    @property
    def bytes_max(self) -> int:
        """Upper bound of the bytes that sealing adds to a file."""
        if self.signature is None:
            return 0
        return self.signature.signer.manifest_bytes_max + len(self.signature.archive or b"")

    def seal(self, blocks: Iterator[bytes], output_format: str) -> Iterable[bytes]:
        """Return the blocks of a file, signed where there is a signature.

        A file is signed whole, because its manifest has a hash of all bytes.
        """
        if self.signature is None:
            return blocks
        return _sign(self.signature, blocks, output_format)


def prepare_sealing(
    signer: ContentSigner | None,
    request: GenerationRequest,
    model: str,
    licence: str,
    *,
    is_streamed: bool,
) -> Sealing:
    """Return the sealing of a request, with the credentials of its input audio."""
    if signer is None:
        return Sealing()
    from musicgen.credentials.claim import Claim
    from musicgen.credentials.ingredient import read_ingredient

    if not signer.can_sign(request.output_format):
        return Sealing(notes=(UNSUPPORTED,))
    notes = (STREAM_UNSIGNED,) if is_streamed else ()
    if request.input_audio is None:
        return Sealing(Signature(signer, Claim(model, licence)), notes)
    relation: Relation = "parentOf" if request.continuation else "inputTo"
    ingredient: Ingredient = read_ingredient(request.input_audio, relation)
    if ingredient.archive is None:
        # Without its credentials the beginning of the clip is of unknown origin.
        claim = Claim(model, licence, has_other_beginning=request.continuation)
    else:
        claim = Claim(model, licence, relation, ingredient.is_generated)
    return Sealing(
        Signature(signer, claim, ingredient.archive),
        (*notes, *filter(None, [ingredient.note])),
    )


def _sign(signature: Signature, blocks: Iterator[bytes], output_format: str) -> Iterator[bytes]:
    data = b"".join(blocks)
    yield signature.signer.sign(data, output_format, signature.claim, signature.archive)
