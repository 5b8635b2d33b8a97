"""Seal the clips of a request: sign their files last, after all tags."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from musicgen.credentials.claim import Claim, Relation
from musicgen.credentials.ingredient import Ingredient, read_ingredient
from musicgen.credentials.library import SIGNABLE
from musicgen.credentials.signing import MANIFEST_BYTES, ContentSigner
from musicgen.notes import ResultNote
from musicgen.request import GenerationRequest

STREAM_UNSIGNED = ResultNote("stream_credentials")
UNSUPPORTED = ResultNote("credentials_unsupported")


@dataclass(frozen=True)
class Sealing:
    """Signature of the clips of one request, or none: `signer` None leaves files as they are."""

    signer: ContentSigner | None
    claim: Claim
    ingredient: Ingredient | None = None
    notes: tuple[ResultNote, ...] = ()

    @property
    def bytes_max(self) -> int:
        """Upper bound of the bytes that sealing adds to a file."""
        if self.signer is None:
            return 0
        archive = self.ingredient.archive if self.ingredient is not None else None
        return MANIFEST_BYTES + len(archive or b"")

    def seal(self, blocks: Iterator[bytes], output_format: str) -> Iterable[bytes]:
        """Return the blocks of a file, signed where there is a signer.

        A file is signed whole, because its manifest has a hash of all bytes.
        """
        return blocks if self.signer is None else self._sign(self.signer, blocks, output_format)

    def _sign(
        self, signer: ContentSigner, blocks: Iterator[bytes], output_format: str
    ) -> Iterator[bytes]:
        archive = None if self.ingredient is None else self.ingredient.archive
        yield signer.sign(b"".join(blocks), output_format, self.claim, archive)


def prepare_sealing(
    signer: ContentSigner | None,
    request: GenerationRequest,
    model: str,
    licence: str,
    *,
    is_streamed: bool,
) -> Sealing:
    """Return the sealing of a request, with the credentials of its input audio."""
    claim = Claim(model, licence)
    if signer is None:
        return Sealing(None, claim)
    if request.output_format not in SIGNABLE:
        return Sealing(None, claim, notes=(UNSUPPORTED,))
    notes = (STREAM_UNSIGNED,) if is_streamed else ()
    if request.input_audio is None:
        return Sealing(signer, claim, notes=notes)
    relation: Relation = "parentOf" if request.continuation else "inputTo"
    ingredient = read_ingredient(request.input_audio, relation)
    if ingredient.archive is None:
        # Without its credentials the beginning of the clip is of unknown origin.
        claim = Claim(model, licence, has_other_beginning=request.continuation)
    else:
        claim = Claim(model, licence, relation, ingredient.is_generated)
    return Sealing(signer, claim, ingredient, (*notes, *filter(None, [ingredient.note])))
