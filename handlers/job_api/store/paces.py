"""Pace of each kind of work: seconds of work for one second of audio, as the workers measure it.

The music and the parts of a clip are kinds of their own, so jobs with the same music and other
parts are estimated from jobs that were never made together.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from handlers.job_api.store.database import DISCONNECT_ERRORS, Pool, query
from handlers.job_api.store.needs import MODEL, PARTS, find_model
from musicgen.request.limits import MULTI_BAND_DIFFUSION

MEASURED_JOBS = 20
"""Number of measured jobs kept of each kind."""
PACE_DEFAULT = 1.0
"""Pace of music before any job has been measured."""
REMOTE = "remote"
"""Kind of all jobs made elsewhere: platforms tell nothing of their parts."""
ASSUMED = {MULTI_BAND_DIFFUSION: 10.0, "stems": 1.0, "midi": 0.2}
"""Pace of work not measured yet, as a multiple of the pace of the music without it.

It serves the waits of other jobs; callers are told no time of a job that rests on it."""
# By the order of the kinds: two workers that end jobs at once would else wait for each other.
_RECORD = f"""
    INSERT INTO musicgen_paces AS p (kind, audio, work)
    SELECT kind, ARRAY[audio], ARRAY[work]
    FROM unnest(%s::text[], %s::real[], %s::real[]) AS m (kind, audio, work) ORDER BY kind
    ON CONFLICT (kind) DO UPDATE SET
        audio = (excluded.audio || p.audio)[1:{MEASURED_JOBS}],
        work = (excluded.work || p.work)[1:{MEASURED_JOBS}]
"""


@dataclass(frozen=True)
class JobWork:
    """Measured work of one job, in seconds.

    `needs`: as in its row. `audio`: of all clips together. `music`: time without the parts of
    clips. `parts`: time for them.
    """

    needs: Sequence[str]
    audio: float
    music: float
    parts: float = 0.0
    is_remote: bool = False


@dataclass(frozen=True)
class Paces:
    """Paces by kind, as measured."""

    measured: Mapping[str, float] = field(default_factory=dict)

    def find_music_pace(self, needs: Sequence[str], *, is_remote: bool = False) -> float:
        """Return the pace of the music of a job, without its parts."""
        if (pace := self.measured.get(_name_music(needs, is_remote))) is not None:
            return pace
        if not is_remote and MULTI_BAND_DIFFUSION in needs:
            plain = [need for need in needs if need != MULTI_BAND_DIFFUSION]
            return self.find_music_pace(plain) * (1 + ASSUMED[MULTI_BAND_DIFFUSION])
        return self._find_usual_pace()

    def find_parts_pace(self, needs: Sequence[str], *, is_remote: bool = False) -> float:
        """Return the pace of the parts of a job; 0 without parts."""
        parts = [] if is_remote else _list_parts(needs)
        if (pace := self.measured.get(" ".join(parts))) is not None:
            return pace
        plain = [need for need in needs if need != MULTI_BAND_DIFFUSION]
        return sum(
            self.measured.get(part, ASSUMED[part] * self.find_music_pace(plain)) for part in parts
        )

    def find_pace(self, needs: Sequence[str], *, is_remote: bool = False) -> float:
        """Return the pace of a whole job."""
        music = self.find_music_pace(needs, is_remote=is_remote)
        return music + self.find_parts_pace(needs, is_remote=is_remote)

    def is_measured(self, needs: Sequence[str], *, is_remote: bool = False) -> bool:
        """Return whether the pace of a whole job rests on measurements of the same kind of work."""
        parts = [] if is_remote else _list_parts(needs)
        known = " ".join(parts) in self.measured or all(part in self.measured for part in parts)
        return known and _name_music(needs, is_remote) in self.measured

    def _find_usual_pace(self) -> float:
        """Return the middle pace of the models measured, for another one."""
        plain = sorted(
            pace
            for kind, pace in self.measured.items()
            if kind.startswith(MODEL) and MULTI_BAND_DIFFUSION not in kind
        )
        return plain[len(plain) // 2] if plain else PACE_DEFAULT


async def record_work(pool: Pool, work: JobWork) -> None:
    """Store what a job has taken. While the database is away, the measurement is lost."""
    if work.audio <= 0:
        return
    measured = {_name_music(work.needs, work.is_remote): work.music}
    if not work.is_remote and (parts := _list_parts(work.needs)):
        measured[" ".join(parts)] = work.parts
    kinds, seconds = list(measured), list(measured.values())
    with contextlib.suppress(*DISCONNECT_ERRORS):
        await query(pool, _RECORD, kinds, [work.audio] * len(kinds), seconds, seconds=0)


async def read_paces(pool: Pool) -> Paces:
    """Return the paces measured so far."""
    rows = await query(pool, "SELECT kind, audio, work FROM musicgen_paces")
    return build_paces(rows)


def build_paces(rows: Iterable[Mapping[str, Any]]) -> Paces:
    """Return the paces of rows with the columns of `musicgen_paces`."""
    return Paces({row["kind"]: find_middle(row["audio"], row["work"]) for row in rows})


def find_middle(audio: Sequence[float], work: Sequence[float]) -> float:
    """Return the middle pace of jobs, each weighted by its seconds of audio.

    A middle, as a job that had to load a model says nothing of the next ones. By weight, as the
    fixed work of a short clip is little of a long one.
    """
    paces = sorted(zip((w / a for w, a in zip(work, audio, strict=True)), audio, strict=True))
    half, heard = sum(audio) / 2, 0.0
    for pace, seconds in paces:
        heard += seconds
        if heard >= half:
            return pace
    return PACE_DEFAULT


def _name_music(needs: Sequence[str], is_remote: bool) -> str:
    if is_remote:
        return REMOTE
    name = MODEL + (find_model(needs) or "")
    return f"{name} {MULTI_BAND_DIFFUSION}" if MULTI_BAND_DIFFUSION in needs else name


def _list_parts(needs: Sequence[str]) -> list[str]:
    return [part for part in PARTS if part in needs]
