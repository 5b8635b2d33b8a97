"""From normalized clips to stored ones: encoded, tagged, hashed on their way, kept all or none."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicgen.audio.embedded_tokens import SavedTokens, checksum
from musicgen.audio.encode import content_type, encode_blocks, file_extension
from musicgen.audio.normalize import Normalized
from musicgen.audio.tags import AudioTags
from musicgen.predictor.manifest import manifest_of
from musicgen.request import AudioFormat, GenerationRequest
from musicgen.result import Clip
from musicgen.storage.base import ClipFile, ClipName, Storage


@dataclass(frozen=True)
class StoredClips:
    """The clips of a job, and the address of their manifest if there is one."""

    clips: tuple[Clip, ...]
    manifest: str | None


def store_clips(
    storage: Storage,
    job_id: str,
    request: GenerationRequest,
    audio_format: AudioFormat,
    clips: Sequence[Normalized],
    tags: Sequence[AudioTags],
    made_with: Mapping[str, Any] | None = None,
) -> StoredClips:
    """Encodes and stores the variations of one request, and beside them, where it is said what they
    are `made_with`, their manifest. Raises: `StorageError`."""
    extension = file_extension(audio_format.output_format)
    kind = content_type(audio_format.output_format)
    streams, files = [], []
    for index, (clip, tag) in enumerate(zip(clips, tags, strict=True)):
        stream = _Hashed(encode_blocks(clip.pcm, audio_format, tag))
        name = ClipName(job_id, index, len(clips), extension)
        streams.append(stream)
        files.append(ClipFile(name, stream, kind, _metadata(job_id, tag)))

    def described(addresses: Sequence[str]) -> tuple[Clip, ...]:
        return tuple(
            _clip(clip, tag, stream, address, audio_format)
            for clip, tag, stream, address in zip(clips, tags, streams, addresses, strict=True)
        )

    def manifest(made_with: Mapping[str, Any]) -> Iterator[bytes]:
        """Made when it is its turn: the hashes are known when the clips have been pulled."""
        yield manifest_of(job_id, request, described([""] * len(clips)), made_with)

    if made_with is not None:
        name = ClipName(job_id, 0, 1, "json")
        files.append(ClipFile(name, manifest(made_with), "application/json"))
    addresses = storage.put_all(files)
    own = addresses[len(clips)] if made_with is not None else None
    return StoredClips(described(addresses[: len(clips)]), own)


def with_tokens(
    tags: Sequence[AudioTags],
    codes: NDArray[np.int64],
    mark: str,
    clips: Sequence[Normalized],
    audio_format: AudioFormat,
) -> list[AudioTags]:
    """`tags` with the codes (clips, codebooks, frames) of each clip, made by the codec `mark`."""
    saved = [
        SavedTokens(each, mark, checksum(clip.pcm, audio_format))
        for each, clip in zip(codes, clips, strict=True)
    ]
    return [replace(tag, tokens=each.to_text()) for tag, each in zip(tags, saved, strict=True)]


class _Hashed:
    """Blocks that are measured while somebody stores them."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = blocks
        self._digest = hashlib.sha256()
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for block in self._blocks:
            self._digest.update(block)
            self.size += len(block)
            yield block

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def _metadata(job_id: str, tags: AudioTags) -> dict[str, str]:
    """The prompt as its hash: whoever may list a bucket need not read what was asked for."""
    return {
        "job-id": job_id,
        "prompt-sha256": hashlib.sha256(tags.prompt.encode(errors="surrogatepass")).hexdigest(),
        "seed": str(tags.seed),
        "model": tags.model,
        "licence": tags.licence,
        "generator": tags.generator,
    }


def _clip(
    clip: Normalized,
    tags: AudioTags,
    stream: _Hashed,
    address: str,
    audio_format: AudioFormat,
) -> Clip:
    samples, channels = clip.pcm.shape
    return Clip(
        address=address,
        prompt=tags.prompt,
        seed=tags.seed,
        seconds=samples / audio_format.rate,
        samples=samples,
        sample_rate=audio_format.rate,
        channels=channels,
        format=audio_format.output_format,
        content_type=content_type(audio_format.output_format),
        bytes=stream.size,
        sha256=stream.sha256,
        loudness_lufs=clip.loudness_lufs,
        peak=clip.peak,
        clipped_samples=clip.clipped_samples,
    )
