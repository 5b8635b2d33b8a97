"""Sounds decoded by libsndfile."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile as sf

from musicgen.audio.pcm import Pcm
from musicgen.audio.sound import BLOCK_SAMPLES, SoundProblem, list_formats
from musicgen.audio.sound_layout import NOT_AUDIO, Piece, SoundLayout
from musicgen.errors.sound_reasons import SoundReason

# libsndfile also opens headerless and exotic formats, some of them from almost any bytes.
_CONTAINERS = frozenset({"WAV", "WAVEX", "RF64", "FLAC", "MP3", "OGG", "AIFF"})
# Length reported by libsndfile for a streamed FLAC; soundfile cannot read the end of such a file.
_OPEN_LENGTH = 2**63 - 1
_INCOMPLETE = SoundReason("incomplete")
# libFLAC reads ahead of the sample that it returns.
_FLAC_AHEAD = 2**17


class SndfileSound:
    """Sound of one file, or of several that are joined in it.

    Raises: `SoundProblem`; OSError.
    """

    def __init__(self, path: Path, layout: SoundLayout) -> None:
        self._file = path.open("rb", buffering=0)
        self._layout, self._size = layout, path.stat().st_size
        self.frames: int | None = 0
        self.rate = self.channels = 0
        try:
            # One piece stays open; several are opened again, one after the other.
            self._open_first()
        except BaseException:
            self._file.close()
            raise

    def _open_first(self) -> None:
        pieces = self._layout.pieces
        self._first = self._open(pieces[0] if pieces else None)
        self.rate, self.channels = self._first.samplerate, self._first.channels
        self.frames = self._first.frames
        for piece in pieces[1:]:
            with self._open(piece) as sound:
                if (sound.samplerate, sound.channels) != (self.rate, self.channels):
                    raise SoundProblem(
                        SoundReason("joined_sounds"),
                        "Send one of them, or save the file again.",
                    )
                self.frames += sound.frames

    def read_blocks(self) -> Iterator[Pcm]:
        """Iterate over all samples. Raises: `SoundProblem`."""
        pieces = self._layout.pieces
        yield from self._read(self._first)
        for piece in pieces[1:]:
            with self._open(piece) as sound:
                yield from self._read(sound)

    def close(self) -> None:
        """Close the file."""
        self._first.close()
        self._file.close()

    def _open(self, piece: Piece | None) -> sf.SoundFile:
        try:
            if piece is None:
                # By descriptor: with a name, soundfile would trust a suffix such as .raw.
                sound = sf.SoundFile(self._file.fileno(), closefd=False)
            else:
                sound = sf.SoundFile(_load(self._file, piece))
        except sf.SoundFileError as error:
            raise SoundProblem(NOT_AUDIO, list_formats()) from error
        try:
            self._check(sound, piece)
        except SoundProblem:
            sound.close()
            raise
        return sound

    def _check(self, sound: sf.SoundFile, piece: Piece | None) -> None:
        if sound.format not in _CONTAINERS:
            raise SoundProblem(SoundReason("format", format=sound.format), list_formats())
        if sound.frames == _OPEN_LENGTH:
            raise SoundProblem(SoundReason("no_length"), "Save the file again.")
        # An encoder's delay and padding are at most 4095 samples each.
        if piece is not None and sound.frames + 2 * 4096 + 1152 < piece.least:
            raise SoundProblem(_INCOMPLETE, "Save the file again.")

    def _read(self, sound: sf.SoundFile) -> Iterator[Pcm]:
        try:
            left = sound.frames
            while left > 0:
                block = sound.read(min(BLOCK_SAMPLES, left), np.float32, always_2d=True)
                if not len(block):
                    return
                yield block
                left -= len(block)
        except sf.SoundFileError as error:
            raise SoundProblem(NOT_AUDIO, list_formats()) from error
        if sound.format == "FLAC" and not self._layout.pieces:
            position = os.lseek(self._file.fileno(), 0, os.SEEK_CUR)
            if self._size - position > _FLAC_AHEAD:
                raise SoundProblem(SoundReason("longer_than_header"), "Save the file again.")


def _load(file: BinaryIO, piece: Piece) -> io.BytesIO:
    """Return a file in memory with a piece of `file`."""
    memory = io.BytesIO()
    memory.write(piece.head)
    for start, end in piece.ranges:
        memory.write(os.pread(file.fileno(), end - start, start))
    memory.seek(0)
    return memory
