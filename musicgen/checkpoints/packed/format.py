"""One file that holds a model as it is run: packed weights, configuration, tokenizer, manifest.

It is a valid safetensors file (8 bytes of length, a JSON header, the data), so any tool for those
can look into it. What is particular:

- the data begins at a page of memory and tensors are ordered by the size of their numbers, so each
  can be used where it is mapped, without a copy;
- `SMALL_FILES` of the checkpoint are tensors of bytes, named `file:NAME`;
- the header's `musicgen` is the manifest: form, source, versions, and a sha256 for each tensor;
- the first tensor, `SUMS`, holds a sum of each mebibyte that follows. Reading and adding runs at
  the speed of memory, where sha256 would take seconds: every load does it, and has the weights in
  memory thereby. A sum finds what disks and transfers do; sha256 also finds what people do, and is
  for the moment a file arrives.

Same checkpoint, form and versions: the same bytes. This module knows where what lies and imports no
torch; `musicgen.checkpoints.packed.reader` has the tensors.
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

FORMAT = 1
SUFFIX = ".packed"
SUMS = "sums"
FILE_PREFIX = "file:"
SMALL_FILES = ("config.json", "generation_config.json", "tokenizer.json", "spiece.model")
BLOCK_BYTES = 2**20
AGAIN = "pack or download it again"
NATIVE, PLAIN = "native-", "plain-"
FORMS = ("native-int8", "native-bfloat16", "native-float32", "plain-bfloat16", "plain-float32")
"""What weights may be packed as: `musicgen.checkpoints.packed.layouts` says what each holds."""
ITEM_BYTES = {"I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I8": 1, "U8": 1}
"""Types of numbers, as safetensors names them."""
_PAGE = 4096
_WORD = 8
_KEY = "musicgen"
_HEADER_MAX = 100_000_000
_PIECE = 2**22


@dataclass(frozen=True)
class Shape:
    """A tensor without its numbers; `dtype` is a name of `ITEM_BYTES`."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


@dataclass(frozen=True)
class Manifest:
    """Header of a packed file.

    `form`: see `musicgen.checkpoints.packed.layouts`. `source`: the model's name. `revision`: the
    hub's commit, if it came from there. `source_files`: sha256 of each packed file's origin.
    `sha256`: of every tensor's bytes.
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
    """Where each tensor of a file begins, in bytes from the file's beginning, and its shape."""

    header_bytes: int
    places: dict[str, tuple[int, Shape]]

    @property
    def total(self) -> int:
        return max(start + shape.bytes for start, shape in self.places.values())

    @property
    def summed(self) -> range:
        """The bytes that the sums are of."""
        start, shape = self.places[SUMS]
        return range(start + shape.bytes, self.total)


def precision_of(form: str) -> str:
    return form.removeprefix(NATIVE).removeprefix(PLAIN)


def layout_of(shapes: Mapping[str, Shape], manifest: Manifest) -> Layout:
    """Of a file with these tensors; the hashes in `manifest` need only have their length."""
    blocks = -(-sum(shape.bytes for shape in shapes.values()) // BLOCK_BYTES)
    everything = {SUMS: Shape("I64", (blocks,)), **shapes}
    order = sorted(everything, key=lambda n: (-ITEM_BYTES[everything[n].dtype], n != SUMS, n))
    places, at = {}, 0
    for name in order:
        places[name] = (at, everything[name])
        at += everything[name].bytes
    size = len(header_of(Layout(0, places), manifest))
    return Layout(size, {name: (size + start, shape) for name, (start, shape) in places.items()})


def header_of(layout: Layout, manifest: Manifest) -> bytes:
    """The bytes before the data, which then begins at a page."""
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
    """Raises: `CheckpointNotFound`, `CheckpointIncomplete` for a file that is not as long as it
    says, `CheckpointCorrupt`, `UnsupportedCheckpoint` for another version of the format."""
    try:
        with path.open("rb") as file:
            layout, manifest = _parsed(path, file.read(_WORD), file.read)
            size = file.seek(0, 2)
    except OSError as error:
        raise CheckpointNotFound(f"{path} cannot be read: {error.strerror}") from error
    if size != layout.total:
        raise CheckpointIncomplete(f"{path} has {size} bytes instead of {layout.total}: {AGAIN}")
    return layout, manifest


def check_hashes(path: Path) -> Manifest:
    """Compares all of a file with its manifest, slowly. Raises: what `read_header` raises."""
    layout, manifest = read_header(path)
    with path.open("rb") as file:
        for name, wanted in manifest.sha256.items():
            start, shape = layout.places[name]
            file.seek(start)
            found, left = hashlib.sha256(), shape.bytes
            while left > 0 and (piece := file.read(min(left, _PIECE))):
                found.update(piece)
                left -= len(piece)
            if found.hexdigest() != wanted:
                raise CheckpointCorrupt(f"{path}: {name} is not what was packed: {AGAIN}")
    return manifest


def packed_files(folder: Path) -> Sequence[Path]:
    """The packed files in a folder."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def _parsed(path: Path, length: bytes, read: Any) -> tuple[Layout, Manifest]:
    try:
        size = int.from_bytes(length, "little")
        if not 0 < size < _HEADER_MAX:
            raise ValueError("no header")
        texts = json.loads(read(size))
        raw = json.loads(texts.pop("__metadata__")[_KEY])
        if raw.get("format") != FORMAT:
            raise UnsupportedCheckpoint(
                f"{path} has format {raw.get('format')!r} and not {FORMAT}: pack it again"
            )
        manifest = Manifest(**raw)
        places = {name: _place(entry, _WORD + size) for name, entry in texts.items()}
        if SUMS not in places or manifest.sha256.keys() != places.keys() - {SUMS}:
            raise ValueError("its manifest is of other tensors")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointCorrupt(
            f"{path} is no packed file, or damaged ({error}): {AGAIN}"
        ) from error
    return Layout(_WORD + size, places), manifest


def _place(entry: Mapping[str, Any], base: int) -> tuple[int, Shape]:
    begin, end = entry["data_offsets"]
    shape = Shape(entry["dtype"], tuple(entry["shape"]))
    if begin < 0 or end - begin != shape.bytes or begin % ITEM_BYTES[shape.dtype]:
        raise ValueError("a tensor's place and shape differ")
    return base + begin, shape
