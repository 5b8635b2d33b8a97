"""Encode, tag, hash and store the clips of a job, all or none."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from musicgen.audio.encode import content_type, describe_file, encode_blocks, file_extension
from musicgen.audio.normalize import Normalized
from musicgen.audio.tags import AudioTags
from musicgen.audio.tempo import Tempo
from musicgen.predictor.finish import FinishedClips
from musicgen.predictor.manifest import build_manifest
from musicgen.predictor.parts import MadePart
from musicgen.predictor.sealing import Sealing
from musicgen.request import AudioFormat, GenerationRequest
from musicgen.result import Clip, ClipPart
from musicgen.storage.base import ClipFile, ClipName, Storage


@dataclass(frozen=True)
class StoredClips:
    """Clips of a job, and the address of their manifest, if any."""

    clips: tuple[Clip, ...]
    manifest: str | None


def store_clips(
    storage: Storage,
    job_id: str,
    request: GenerationRequest,
    audio_format: AudioFormat,
    finished: FinishedClips,
    sealing: Sealing,
    provenance: Mapping[str, Any] | None = None,
) -> StoredClips:
    """Encode, seal and store the clips of one request, with a manifest if `provenance` is given.

    Raises: `StorageError`; the errors of `ContentSigner.sign`.
    """
    clips, tags = finished.clips, finished.tags
    extension = file_extension(audio_format.output_format)
    kind = content_type(audio_format.output_format)
    streams, files = [], []
    for index, (clip, tag, file) in enumerate(zip(clips, tags, finished.files, strict=True)):
        blocks = iter([file]) if file is not None else encode_blocks(clip.pcm, audio_format, tag)
        stream = _HashingBlocks(sealing.seal(blocks, audio_format.output_format))
        name = ClipName(job_id, index, len(clips), extension)
        streams.append(stream)
        files.append(ClipFile(name, stream, kind, _build_metadata(job_id, tag)))

    further = [
        _FurtherFile(index, part, _HashingBlocks(_seal_part(sealing, part, audio_format)))
        for index, own in enumerate(finished.parts)
        for part in own
    ]
    files += [each.build(job_id, len(clips)) for each in further]
    count = len(files)

    def build_clips(addresses: Sequence[str]) -> tuple[Clip, ...]:
        return tuple(
            replace(
                _build_clip(clip, tag, stream, addresses[index], audio_format),
                parts=tuple(
                    each.describe(address)
                    for each, address in zip(further, addresses[len(clips) :], strict=True)
                    if each.index == index
                ),
            )
            for index, (clip, tag, stream) in enumerate(zip(clips, tags, streams, strict=True))
        )

    def write_manifest(provenance: Mapping[str, Any]) -> Iterator[bytes]:
        """Yield the manifest last: the hashes are known once the clips are stored."""
        yield build_manifest(job_id, request, build_clips([""] * count), provenance)

    if provenance is not None:
        name = ClipName(job_id, 0, 1, "json")
        files.append(ClipFile(name, write_manifest(provenance), "application/json"))
    addresses = storage.put_all(files)
    manifest = addresses[count] if provenance is not None else None
    return StoredClips(build_clips(addresses[:count]), manifest)


def _seal_part(sealing: Sealing, part: MadePart, audio_format: AudioFormat) -> Iterable[bytes]:
    """Return the blocks of a part; a stem has the format of its clip, and is signed like it."""
    return sealing.seal(part.read(), audio_format.output_format) if part.stem else part.read()


def build_tags(
    request: GenerationRequest,
    texts: Sequence[str],
    seeds: Sequence[int],
    model: str,
    licence: str,
    generator: str,
) -> list[AudioTags]:
    """Return the tags of each clip, with the tempo where the request names one."""
    tempo = None
    if request.bpm is not None:
        tempo = Tempo(float(request.bpm), request.beats_per_bar, request.loop)
    return [
        AudioTags(text, seed, model, licence, generator, tempo=tempo)
        for text, seed in zip(texts, seeds, strict=True)
    ]


@dataclass(frozen=True)
class _FurtherFile:
    """Part of clip `index`, as it is stored."""

    index: int
    part: MadePart
    stream: _HashingBlocks

    def build(self, job_id: str, count: int) -> ClipFile:
        """Return the file of a job with `count` clips."""
        part = self.part
        name = ClipName(job_id, self.index, count, part.extension, part.stem)
        metadata = _build_metadata(job_id, part.tags)
        return ClipFile(name, self.stream, part.content_type, metadata)

    def describe(self, address: str) -> ClipPart:
        """Return the part of the result, once it is stored."""
        part = self.part
        size, digest = self.stream.size, self.stream.sha256
        return ClipPart(part.name, address, part.content_type, size, digest)


class _HashingBlocks:
    """Blocks of a file, hashed and counted as they are written to storage."""

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
        """Hash of the blocks so far, in hexadecimal."""
        return self._digest.hexdigest()


def _build_metadata(job_id: str, tags: AudioTags) -> dict[str, str]:
    """Return the metadata of a file in a bucket.

    The prompt is hashed: a permission to list the bucket must not reveal it.
    """
    return {
        "job-id": job_id,
        "prompt-sha256": hashlib.sha256(tags.prompt.encode(errors="surrogatepass")).hexdigest(),
        "seed": str(tags.seed),
        "model": tags.model,
        "licence": tags.licence,
        "generator": tags.generator,
    }


def _build_clip(
    clip: Normalized,
    tags: AudioTags,
    stream: _HashingBlocks,
    address: str,
    audio_format: AudioFormat,
) -> Clip:
    count, channels = clip.pcm.shape
    samples, rate = describe_file(count, audio_format)
    return Clip(
        address=address,
        prompt=tags.prompt,
        seed=tags.seed,
        seconds=samples / rate,
        samples=samples,
        sample_rate=rate,
        channels=channels,
        format=audio_format.output_format,
        content_type=content_type(audio_format.output_format),
        bytes=stream.size,
        sha256=stream.sha256,
        loudness_lufs=clip.loudness_lufs,
        peak=clip.peak,
        clipped_samples=clip.clipped_samples,
        true_peak_dbtp=clip.true_peak_dbtp,
    )
