"""Packing of a checkpoint into one file (`musicgen.checkpoints.packed.format`).

The file is written weight by weight under a temporary name, with a journal of finished weights. An
interrupted pack resumes there. Only a complete file gets the final name; until then an older file
of that name stays.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from musicgen import __version__
from musicgen.checkpoints.adapters.adapter import Adapter
from musicgen.checkpoints.folder_files import weight_files
from musicgen.checkpoints.locate import Source
from musicgen.checkpoints.locking import lock_of, translate_disk_errors
from musicgen.checkpoints.packed.format import (
    FILE_PREFIX,
    SMALL_FILES,
    SUFFIX,
    SUMS,
    Layout,
    Manifest,
    build_header,
    build_layout,
)
from musicgen.checkpoints.packed.layouts import Packing
from musicgen.checkpoints.packed.reader import (
    PackFile,
    bytes_of,
    compute_sums,
    map_file,
    sha256_of,
    shape_of,
)
from musicgen.checkpoints.weights import CheckpointWeights
from musicgen.disk_errors import check_replaceable
from musicgen.errors import CheckpointError
from musicgen.model.config import MusicGenConfig

_BLANK = "0" * 64
_PIECE = 2**22
_ADVICE = "free some space and pack again, to resume here, or choose another folder"


@dataclass(frozen=True)
class PackReport:
    """Result of a pack.

    `before` and `after`: bytes of the checkpoint's weight files and of the packed file. `resumed`:
    weights already packed by an interrupted run.
    """

    path: Path
    manifest: Manifest
    before: int
    after: int
    weights: int
    resumed: int


def pack(
    source: Source,
    form: str,
    output: Path,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> PackReport:
    """Pack a checkpoint's folder into the file `output`, or into a folder under the usual name.

    `on_progress`: called with the name of a weight, its number and the number of weights.
    Raises: a `CheckpointError`, `DiskFull`, `NotWritable`.
    """
    if source.folder.is_file():
        raise CheckpointError(
            f"{source.folder} is already a packed file: give the folder or the name of the "
            "checkpoint it was packed from"
        )
    if output.suffix != SUFFIX:
        output = output / f"{source.label.replace('/', '--')}.{form}{SUFFIX}"
    check_replaceable(output)
    config = MusicGenConfig.from_folder(source.folder)
    job = _PackJob(source, config, form)
    with translate_disk_errors(output.parent, _ADVICE):
        output.parent.mkdir(parents=True, exist_ok=True)
        with lock_of(output):
            resumed = job.run(output, on_progress or (lambda *_: None))
    before = sum(file.stat().st_size for file in weight_files(source.folder))
    after = output.stat().st_size
    return PackReport(output, job.manifest, before, after, len(job.packing.weights), resumed)


class _PackJob:
    def __init__(self, source: Source, config: MusicGenConfig, form: str) -> None:
        self.packing = Packing(config, form)
        self._weights = CheckpointWeights(source.folder, config, source.adapter)
        self._small = {
            FILE_PREFIX + name: np.frombuffer(path.read_bytes(), np.uint8)
            for name in SMALL_FILES
            if (path := source.folder / name).is_file()
        }
        shapes = {
            part: shape
            for name in self.packing.weights
            for part, shape in self.packing.describe(name).items()
        } | {name: shape_of(array) for name, array in self._small.items()}
        self.manifest = Manifest(
            form=form,
            source=source.label,
            revision=source.revision,
            licence=source.licence,
            versions={"musicgen": __version__, "torch": torch.__version__.partition("+")[0]},
            source_files={p.name: _sha256_of_file(p) for p in _files_of(source)},
            sha256=dict.fromkeys(sorted(shapes), _BLANK),
        )
        self.layout: Layout = build_layout(shapes, self.manifest)
        self._blank_header = build_header(self.layout, self.manifest)

    def run(self, output: Path, on_progress: Callable[[str, int, int], None]) -> int:
        """Write the file and return the number of weights kept from an earlier run."""
        partial = output.with_name(f".{output.name}.partial")
        journal = _Journal(output.with_name(f".{output.name}.journal"), self._identity())
        hashes: dict[str, str] = {}
        with _open_for_update(partial) as file:
            file.truncate(self.layout.total)
            kept = {name: h for name, h in journal.done.items() if self._has(file, h)}
            for number, (name, empty) in enumerate(self.packing.weights.items()):
                on_progress(name, number, len(self.packing.weights))
                if name in kept:
                    hashes |= kept[name]
                    continue
                arrays = self.packing.pack(name, self._weights.get(name, empty.shape))
                new_hashes = self._write(file, arrays)
                journal.add(name, new_hashes)
                hashes |= new_hashes
            hashes |= self._write(file, self._small)
            self._finish(file, partial, hashes)
        partial.replace(output)
        _sync_folder(output.parent)
        journal.remove()
        PackFile(output).check()
        return len(kept)

    def _finish(self, file: BinaryIO, partial: Path, hashes: dict[str, str]) -> None:
        span = self.layout.sum_range
        sums = compute_sums(map_file(partial)[span.start : span.stop])
        _write_at(file, bytes_of(sums), self.layout.places[SUMS][0])
        self.manifest = replace(self.manifest, sha256=dict(sorted(hashes.items())))
        _write_at(file, memoryview(build_header(self.layout, self.manifest)), 0)
        os.fsync(file.fileno())

    def _write(self, file: BinaryIO, arrays: dict[str, NDArray[Any]]) -> dict[str, str]:
        for name, array in arrays.items():
            start, shape = self.layout.places[name]
            assert shape_of(array) == shape, name
            _write_at(file, bytes_of(array), start)
        return {name: sha256_of(array) for name, array in arrays.items()}

    def _has(self, file: BinaryIO, hashes: dict[str, str]) -> bool:
        """Return whether the file holds the tensors with these hashes."""
        for name, expected in hashes.items():
            start, shape = self.layout.places[name]
            file.seek(start)
            if hashlib.sha256(file.read(shape.bytes)).hexdigest() != expected:
                return False
        return True

    def _identity(self) -> str:
        return hashlib.sha256(self._blank_header).hexdigest()


class _Journal:
    """Journal of the weights in the partial file, one line each; reset for another pack."""

    def __init__(self, path: Path, identity: str) -> None:
        self._path = path
        self.done: dict[str, dict[str, str]] = {}
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        if lines[:1] == [identity]:
            for line in lines[1:]:
                try:
                    self.done |= json.loads(line)
                except ValueError:
                    break  # an incomplete last line
            lines = [identity, *(json.dumps({name: h}) for name, h in self.done.items())]
        else:
            lines = [identity]
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def add(self, name: str, hashes: dict[str, str]) -> None:
        """Record a weight: its name, and the sha256 of each of its tensors."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({name: hashes}) + "\n")

    def remove(self) -> None:
        """Delete the journal."""
        self._path.unlink()


def _files_of(source: Source) -> list[Path]:
    own = [] if source.adapter is None else [Adapter(source.adapter).path]
    return [*weight_files(source.folder), *own]


def _sha256_of_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _write_at(file: BinaryIO, content: memoryview, start: int) -> None:
    """Write all of `content`; one system call writes at most two gigabytes."""
    done = 0
    while done < len(content):
        done += os.pwrite(file.fileno(), content[done:], start + done)


@contextmanager
def _open_for_update(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading and writing, keeping its content."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    with os.fdopen(descriptor, "r+b") as file:
        yield file


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
