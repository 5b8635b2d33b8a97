"""Format of a packed file: packed weights, configuration, tokenizer and manifest of a model.

A packed file is a valid safetensors file (8 bytes of length, a JSON header, the data), readable by
any safetensors tool. Its particulars:

- The data begins at a memory page, and tensors are sorted by item size. Each tensor is therefore
  used in the mapped file, without a copy.
- `SMALL_FILES` of the checkpoint are byte tensors, named `file:NAME`.
- `musicgen` in the header's metadata is the manifest: form, source, versions, and a sha256 for each
  tensor.
- The first tensor, `SUMS`, holds a sum of each following mebibyte. Every load compares the sums, at
  the speed of memory, and so brings the weights into memory; sha256 would take seconds. A sum finds
  damage by disks and transfers. sha256 also finds manipulation, and is compared after a download.

The same checkpoint, form and versions give the same bytes. This module holds the layout and imports
no torch; `musicgen.checkpoints.packed.reader` reads the tensors.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from musicgen.errors import (
    CheckpointCorrupt,
    CheckpointIncomplete,
    CheckpointNotFound,
    UnsupportedCheckpoint,
)
from musicgen.errors.counts import format_count

FORMAT = 2
SUFFIX = ".packed"
SUMS = "sums"
FILE_PREFIX = "file:"
SMALL_FILES = ("config.json", "generation_config.json", "tokenizer.json", "spiece.model")
BLOCK_BYTES = 2**20
AGAIN = "pack or download it again"
NATIVE, PLAIN = "native-", "plain-"
FORMS = (
    "native-int8",
    "native-int4",
    "native-bfloat16",
    "native-float32",
    "plain-bfloat16",
    "plain-float32",
)
"""Forms of a packed file; `musicgen.checkpoints.packed.layouts` describes each."""
ITEM_BYTES = {"I64": 8, "F32": 4, "I32": 4, "I16": 2, "F16": 2, "BF16": 2, "I8": 1, "U8": 1}
"""Bytes of a number by its type, in the names of safetensors."""
_PAGE = 4096
_WORD = 8
_KEY = "musicgen"
_HEADER_MAX = 100_000_000
_PIECE = 2**22


@dataclass(frozen=True)
class Shape:
    """Type and shape of a tensor; `dtype` is a key of `ITEM_BYTES`."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Size of the tensor in bytes."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


@dataclass(frozen=True)
class Manifest:
    """Manifest of a packed file.

    `form`: see `musicgen.checkpoints.packed.layouts`. `source`: the model's name. `revision`: the
    commit on the hub, None for a model from elsewhere. `source_files`: sha256 of each original
    weight file. `sha256`: of every tensor's bytes.
    """

    form: str
    source: str
    revision: str | None
    licence: str
    versions: dict[str, str]
    source_files: dict[str, str]
    sha256: dict[str, str]
    format: int = FORMAT


@dataclass(frozen=True)
class Layout:
    """Place of each tensor in a file: its offset in bytes, and its shape."""

    header_bytes: int
    places: dict[str, tuple[int, Shape]]

    @property
    def total(self) -> int:
        """Size of the file in bytes."""
        return max(start + shape.bytes for start, shape in self.places.values())

    @property
    def sum_range(self) -> range:
        """Offsets of the bytes covered by the sums."""
        start, shape = self.places[SUMS]
        return range(start + shape.bytes, self.total)


def precision_of(form: str) -> str:
    """Return the precision of a form, such as "int8"."""
    return form.removeprefix(NATIVE).removeprefix(PLAIN)


def build_layout(shapes: Mapping[str, Shape], manifest: Manifest) -> Layout:
    """Return the layout of a file with these tensors.

    The header's size depends on `manifest`, whose hashes may still be blank.
    """
    blocks = -(-sum(shape.bytes for shape in shapes.values()) // BLOCK_BYTES)
    everything = {SUMS: Shape("I64", (blocks,)), **shapes}
    order = sorted(everything, key=lambda n: (-ITEM_BYTES[everything[n].dtype], n != SUMS, n))
    places, at = {}, 0
    for name in order:
        places[name] = (at, everything[name])
        at += everything[name].bytes
    size = len(build_header(Layout(0, places), manifest))
    return Layout(size, {name: (size + start, shape) for name, (start, shape) in places.items()})


def build_header(layout: Layout, manifest: Manifest) -> bytes:
    """Return the header, padded so that the data begins at a page."""
    texts: dict[str, Any] = {"__metadata__": {_KEY: json.dumps(asdict(manifest), sort_keys=True)}}
    for name, (start, shape) in layout.places.items():
        begin = start - layout.header_bytes
        texts[name] = {
            "dtype": shape.dtype,
            "shape": list(shape.shape),
            "data_offsets": [begin, begin + shape.bytes],
        }
    text = json.dumps(texts, separators=(",", ":")).encode()
    text += b" " * (-(_WORD + len(text)) % _PAGE)
    return len(text).to_bytes(_WORD, "little") + text


def read_header(path: Path) -> tuple[Layout, Manifest]:
    """Read the layout and the manifest of a packed file.

    Raises: `CheckpointNotFound`, `CheckpointIncomplete` for a file of the wrong length,
    `CheckpointCorrupt`, `UnsupportedCheckpoint` for another version of the format.
    """
    try:
        with path.open("rb") as file:
            layout, manifest = _parse_header(path, file.read(_WORD), file.read)
            size = file.seek(0, 2)
    except OSError as error:
        raise CheckpointNotFound(f"{path} cannot be read: {error.strerror}") from error
    if size != layout.total:
        length = format_count(size, "byte")
        raise CheckpointIncomplete(f"{path} has {length} instead of {layout.total}: {AGAIN}")
    return layout, manifest


def check_hashes(path: Path) -> Manifest:
    """Compare a whole file with its manifest, which takes seconds.

    Raises: the errors of `read_header`, `CheckpointCorrupt`.
    """
    layout, manifest = read_header(path)
    with path.open("rb") as file:
        for name, expected in manifest.sha256.items():
            start, shape = layout.places[name]
            file.seek(start)
            digest, left = hashlib.sha256(), shape.bytes
            while left > 0 and (piece := file.read(min(left, _PIECE))):
                digest.update(piece)
                left -= len(piece)
            if digest.hexdigest() != expected:
                raise CheckpointCorrupt(f"{path}: {name} differs from its hash: {AGAIN}")
    return manifest


def find_packed_files(folder: Path) -> Sequence[Path]:
    """Return the packed files in a folder."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def _parse_header(path: Path, length: bytes, read: Any) -> tuple[Layout, Manifest]:
    try:
        size = int.from_bytes(length, "little")
        if not 0 < size < _HEADER_MAX:
            raise ValueError("no header")
        texts = json.loads(read(size))
        raw = json.loads(texts.pop("__metadata__")[_KEY])
        if raw.get("format") != FORMAT and not _is_first_plain(raw):
            raise UnsupportedCheckpoint(
                f"{path} has format {raw.get('format')!r}, not {FORMAT}: pack it again"
            )
        manifest = Manifest(**raw)
        places = {name: _place(entry, _WORD + size) for name, entry in texts.items()}
        if SUMS not in places or manifest.sha256.keys() != places.keys() - {SUMS}:
            raise ValueError("its manifest names other tensors")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointCorrupt(
            f"{path} is not a packed file, or is damaged ({error}): {AGAIN}"
        ) from error
    return Layout(_WORD + size, places), manifest


def _is_first_plain(raw: Mapping[str, Any]) -> bool:
    """Whether a manifest is of format 1 and a plain form, both unchanged since."""
    return raw.get("format") == 1 and str(raw.get("form")).startswith(PLAIN)


def _place(entry: Mapping[str, Any], base: int) -> tuple[int, Shape]:
    begin, end = entry["data_offsets"]
    shape = Shape(entry["dtype"], tuple(entry["shape"]))
    if begin < 0 or end - begin != shape.bytes or begin % ITEM_BYTES[shape.dtype]:
        raise ValueError("a tensor's place and shape differ")
    return base + begin, shape
