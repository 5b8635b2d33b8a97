"""Tempo and loop of a clip, in the forms of game engines and audio workstations.

A wav has the chunks `acid` (tempo) and `smpl` (loop); flac, ogg and opus have comments; an mp3 has
the frame TBPM. Layouts: `wav_read_smpl_chunk` and `wav_read_acid_chunk` of libsndfile (wav.c).
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

from musicgen.request.limits import BEATS_DEFAULT, BEATS_MAX, BEATS_MIN, BPM_MAX, BPM_MIN

_STRETCH, _DISK_BASED = 0x04, 0x08
"""Flags of `acid`. A disk-based sound has a tempo and does not repeat."""
_QUARTER_NOTE = 4
_MIDDLE_C = 60
_ACID = struct.Struct("<4sIIHHfIHHf")
_SMPL = struct.Struct("<4sI15I")


@dataclass(frozen=True)
class Tempo:
    """Tempo in beats per minute; `is_loop` for a clip of whole bars that repeats as a whole.

    Raises: ValueError for values that no request can have.
    """

    bpm: float
    beats_per_bar: int = BEATS_DEFAULT
    is_loop: bool = False

    def __post_init__(self) -> None:
        """Check the values, which may come from a stranger's file."""
        is_number = isinstance(self.bpm, int | float) and BPM_MIN <= self.bpm <= BPM_MAX
        is_meter = isinstance(self.beats_per_bar, int) and (
            BEATS_MIN <= self.beats_per_bar <= BEATS_MAX
        )
        if not (is_number and is_meter and isinstance(self.is_loop, bool)):
            raise ValueError(f"not a tempo: {self!r}")

    @classmethod
    def from_json(cls, fields: Any) -> Tempo | None:
        """Build a tempo from `asdict` of one, or None from None.

        Raises: ValueError, TypeError.
        """
        return None if fields is None else cls(**fields)

    def build_chunks(self, samples: int, sample_rate: int) -> bytes:
        """Return the chunks of a wav of `samples` samples: `acid`, and `smpl` for a loop."""
        beats = max(1, round(samples / sample_rate * self.bpm / 60))
        flags = _STRETCH if self.is_loop else _STRETCH | _DISK_BASED
        meter = (_QUARTER_NOTE, self.beats_per_bar)
        # Two fields have no known meaning; every writer sets them to 0x8000 and 0.
        unknown = (0x8000, 0.0)
        acid = _ACID.pack(
            b"acid", _ACID.size - 8, flags, _MIDDLE_C, *unknown, beats, *meter, self.bpm
        )
        if not self.is_loop or not samples:
            return acid
        nanoseconds = round(1e9 / sample_rate)
        # The last sample of the loop is played too. 0 rounds: for ever.
        forever = (0, 0, 0, samples - 1, 0, 0)
        sampler = (0, 0, nanoseconds, _MIDDLE_C, 0, 0, 0, 1, 0)
        return acid + _SMPL.pack(b"smpl", _SMPL.size - 8, *sampler, *forever)

    def build_comments(self, samples: int) -> dict[str, str]:
        """Return the comments of a flac, ogg or opus of `samples` samples.

        RPG Maker reads digits up to a byte that is none, and the length of the next comment follows
        at once: the next one must not have 48 to 57 bytes. So the loop comes first.
        """
        loop = {"LOOPSTART": "0", "LOOPLENGTH": str(samples)} if self.is_loop else {}
        return {**loop, "BPM": f"{self.bpm:.7g}"}

    @property
    def whole_bpm(self) -> str:
        """Tempo rounded to a whole number, as ID3v2.4 has it in TBPM."""
        return str(math.floor(self.bpm + 0.5))
