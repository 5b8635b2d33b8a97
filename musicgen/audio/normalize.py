"""Normalize the level of a clip by the five strategies of audiocraft's `audio_write`.

The targets are audiocraft's (`audiocraft/data/audio_utils.py`). The edge cases differ: audiocraft
divides by zero for silence and anti-phase stereo, and fills the file with NaN. It cuts loud samples
at full scale; here a limiter turns them down.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from musicgen.audio.limiter import AIM_DB, Curve, apply_gain, plan_gain
from musicgen.audio.loudness import (
    BLOCK_SECONDS,
    OFFSET_LU,
    measure_gated_loudness,
    measure_hop_power,
    samples_per_hop,
)
from musicgen.audio.pcm import Pcm, require_finite
from musicgen.audio.true_peak import BLOCK_MAX, BlockPeaks
from musicgen.errors import UnknownStrategy
from musicgen.notes import ResultNote
from musicgen.request.limits import (
    LOUDNESS_DEFAULT_LUFS,
    NORMALIZATION_STRATEGIES,
    TRUE_PEAK_DEFAULT_DBTP,
)

TARGET_LUFS = LOUDNESS_DEFAULT_LUFS
TARGET_RMS_DB = -18.0
MAKE_UP_MAX_DB = 9.0
"""A limiter driven harder flattens the music more than it raises the loudness."""
REACHED_DB = 0.5
"""A level missed by more than this is noted."""
_LOUDNESS_MISSED = "loudness_missed"
_MAKE_UP_ROUNDS, _MAKE_UP_EXACT_DB = 8, 0.05
# Blocks above this part of the highest planned peak are measured again.
_NEARLY = 0.97
QUIET_RMS = 2e-3
"""Below this RMS (-54 dBFS) "loudness" keeps the level: it would only amplify noise."""
SILENT_PEAK = 1e-6
"""-120 dBFS. A clip below this peak is rounding noise; no strategy amplifies it."""
ANTI_PHASE_RATIO = 0.1
"""Channels cancel where their mean is 20 dB below them: "rms" then measures each channel."""


@dataclass(frozen=True, eq=False)
class Normalized:
    """Clip at its final level.

    `pcm` (samples, channels); `loudness_lufs`, `peak` and `true_peak` (linear, 1 is full scale)
    are those of `pcm`, or of its lossy file once that is made; `clipped_samples` counts the values
    of all channels beyond full scale, which only "none" allows; `notes` describe anything unusual
    to a person.
    """

    pcm: Pcm
    loudness_lufs: float | None
    peak: float
    true_peak: float
    clipped_samples: int = 0
    notes: tuple[ResultNote, ...] = ()

    @property
    def true_peak_dbtp(self) -> float | None:
        """True peak in decibels of full scale, None for silence."""
        return 20 * math.log10(self.true_peak) if self.true_peak > 0 else None


def normalize(
    pcm: Pcm,
    sample_rate: int,
    strategy: str,
    target_lufs: float = TARGET_LUFS,
    ceiling_dbtp: float = TRUE_PEAK_DEFAULT_DBTP,
    loops: bool = False,
    boost_lu: float = 0.0,
) -> Normalized:
    """Scale and limit a copy of `pcm` (samples, channels).

    * "loudness": to `target_lufs` integrated, and `boost_lu` above it. A clip with an RMS below
      2e-3 keeps its level. A clip shorter than 0.4 s has no loudness and is scaled by its RMS.
    * "peak": to a true peak of `ceiling_dbtp`.
    * "rms": the RMS of the channel mean to -18 dBFS. Where the channels cancel in their mean
      (anti-phase), the RMS over all channels counts.
    * "clip": not scaled.
    * "none": unchanged; values beyond full scale are counted, because integer formats cut them.

    A limiter holds the true peak of all but "none" at `ceiling_dbtp`. The gain before it makes up
    for its loss of loudness or RMS, by at most 9 dB. The limiter of a loop works across its ends.
    Silence stays silence.

    Raises: `GenerationError` for NaN or infinity; `UnknownStrategy`.
    """
    if strategy not in NORMALIZATION_STRATEGIES:
        raise UnknownStrategy.for_choice(
            "normalization_strategy", strategy, NORMALIZATION_STRATEGIES
        )
    require_finite(pcm)
    sound = _Sound(pcm, sample_rate, loops)
    if sound.peak < SILENT_PEAK:
        notes = () if strategy in ("clip", "none") else (ResultNote("silent"),)
        return sound.scale(1.0, notes)
    if strategy == "none":
        kept = sound.scale(1.0)
        clipped = int(np.count_nonzero(np.abs(pcm) > 1))
        notes = (ResultNote("beyond_full_scale", count=clipped),) if clipped else ()
        return replace(kept, clipped_samples=clipped, notes=notes)
    ceiling = 10 ** (ceiling_dbtp / 20)
    if strategy == "peak":
        return sound.scale(ceiling / sound.true_peak)
    if strategy == "clip":
        return sound.limit(1.0, ceiling)
    if strategy == "rms":
        return _reach_rms(sound, ceiling)
    return _reach_loudness(sound, target_lufs, ceiling, boost_lu)


def is_aimed(clip: Normalized) -> bool:
    """Return whether a clip of the strategy "loudness" was scaled towards its target."""
    # Other notes tell why it was not.
    return all(note.code == _LOUDNESS_MISSED for note in clip.notes)


def note_loudness(clip: Normalized, found_lufs: float | None, target_lufs: float) -> Normalized:
    """Return a clip of the strategy "loudness" with the note for the loudness found in its file.

    A clip that its limiter let reach the target was made quieter by the codec.
    """
    if not is_aimed(clip):
        return clip
    if found_lufs is not None and target_lufs - found_lufs <= REACHED_DB:
        return replace(clip, notes=())
    if found_lufs is None or not clip.notes:
        return replace(clip, notes=(ResultNote("bitrate_too_low"),))
    return replace(clip, notes=(ResultNote(_LOUDNESS_MISSED, level=round(found_lufs, 1)),))


def _reach_rms(sound: _Sound, ceiling: float) -> Normalized:
    mixed, separate = sound.measure_energy(is_mixed=True), sound.measure_energy(is_mixed=False)
    is_cancelled = mixed.sum() < ANTI_PHASE_RATIO**2 * separate.sum()
    energy = separate if is_cancelled else mixed

    def measure(moving: Curve) -> float:
        return 10 * math.log10(float(energy @ moving**2) / len(sound.pcm))

    notes = (ResultNote("out_of_phase"),) if is_cancelled else ()
    return _reach(sound, measure, TARGET_RMS_DB, ceiling, "rms_missed", notes)


def _reach_loudness(
    sound: _Sound, target_lufs: float, ceiling: float, boost_lu: float
) -> Normalized:
    rms = math.sqrt(float(sound.measure_energy(is_mixed=False).sum()) / len(sound.pcm))
    if rms < QUIET_RMS:
        return sound.limit(1.0, ceiling, (ResultNote("almost_silent"),))
    if sound.measure_loudness(np.ones(len(sound.peaks))) is not None:
        measure = sound.measure_loudness
        return _reach(sound, measure, target_lufs, ceiling, _LOUDNESS_MISSED, boost=boost_lu)
    if len(sound.pcm) >= BLOCK_SECONDS * sound.sample_rate:
        return sound.limit(1.0, ceiling, (ResultNote("inaudible"),))
    unweighted = OFFSET_LU + 20 * math.log10(rms) + 10 * math.log10(sound.pcm.shape[1])
    note = ResultNote("no_loudness", seconds=BLOCK_SECONDS)
    return sound.limit(10 ** ((target_lufs - unweighted) / 20), ceiling, (note,))


def _reach(
    sound: _Sound,
    measure: Callable[[Curve], float | None],
    target: float,
    ceiling: float,
    missed: str,
    notes: tuple[ResultNote, ...] = (),
    boost: float = 0.0,
) -> Normalized:
    """Return the sound limited, with the gain before the limiter to a level of `target` after it.

    `boost` dB are added to the target, but not to the highest gain.

    `measure` returns the level in decibels for the gain of each block. `missed`: code of the note
    for a level out of reach.
    """
    found = measure(np.ones(len(sound.peaks)))
    gain = 1.0 if found is None else 10 ** ((target - found) / 20)
    most = gain * 10 ** (MAKE_UP_MAX_DB / 20)
    target += boost
    gain *= 10 ** (boost / 20)
    for _ in range(_MAKE_UP_ROUNDS):
        curve = sound.plan(gain, ceiling)
        found = measure((curve[:-1] + curve[1:]) * (gain / 2))
        # At the first round without a limited peak the level is reached.
        if found is None or abs(target - found) < _MAKE_UP_EXACT_DB or gain == most:
            break
        gain = min(most, gain * 10 ** ((target - found) / 20))
    if found is not None and abs(target - found) > REACHED_DB:
        notes = (*notes, ResultNote(missed, level=round(found, 1)))
    return sound.limit(gain, ceiling, notes)


class _Sound:
    """Sound with the peaks and powers of its blocks, at a peak of 1.

    At that level no power or interpolation overflows, whatever the level of `pcm`.
    """

    def __init__(self, pcm: Pcm, sample_rate: int, loops: bool) -> None:
        self.pcm, self.sample_rate, self._loops = pcm, sample_rate, loops
        self.peak = float(np.abs(pcm).max(initial=0.0))
        self._unit = pcm * np.float32(1 / self.peak) if self.peak >= SILENT_PEAK else pcm
        hop = samples_per_hop(sample_rate)
        self._block = next(block for block in range(BLOCK_MAX, 0, -1) if hop % block == 0)
        self._parts = hop // self._block
        self.peaks = BlockPeaks(self._unit, self._block, loops)

    @property
    def _level(self) -> float:
        return self.peak if self.peak >= SILENT_PEAK else 1.0

    @property
    def true_peak(self) -> float:
        """True peak of `pcm`."""
        return self.peaks.measure_highest() * self._level

    @cached_property
    def _power(self) -> Curve:
        return measure_hop_power(self._unit, self.sample_rate, self._parts) * self._level**2

    def measure_energy(self, is_mixed: bool) -> Curve:
        """Return the energy of the channel mean of each block, or the mean of their energies."""
        sound = self._unit.mean(axis=1, keepdims=True) if is_mixed else self._unit
        channels = sound.shape[1]
        rows = np.zeros((len(self.peaks), self._block * channels), np.float32)
        rows.reshape(-1)[: sound.size] = sound.reshape(-1)
        energy: Curve = np.einsum("bs,bs->b", rows, rows).astype(np.float64)
        energy *= self._level**2 / channels
        return energy

    def measure_loudness(self, moving: Curve) -> float | None:
        """Return the loudness in LUFS with the gain `moving` of each block: (blocks,)."""
        power = self._power * moving[: len(self._power)] ** 2
        return measure_gated_loudness(power.reshape(-1, self._parts).mean(axis=1))

    def plan(self, gain: float, ceiling: float) -> Curve:
        """Return the gain of the limiter behind `gain`, at the borders of the blocks."""
        aim = ceiling * 10 ** (-AIM_DB / 20) / (self._level * gain)
        rate = self.sample_rate / self._block
        return plan_gain(self.peaks.measure(aim), aim, rate, self._loops)

    def scale(self, gain: float, notes: tuple[ResultNote, ...] = ()) -> Normalized:
        """Return the sound scaled by `gain`, without a limiter."""
        ones = np.ones(len(self.peaks))
        scaled = self.pcm * np.float32(gain) if gain != 1 else self.pcm.copy()
        return Normalized(
            scaled,
            self.measure_loudness(ones * gain),
            float(np.abs(scaled).max(initial=0.0)),
            self.true_peak * gain,
            notes=notes,
        )

    def limit(self, gain: float, ceiling: float, notes: tuple[ResultNote, ...] = ()) -> Normalized:
        """Return the sound scaled by `gain` and limited behind it."""
        curve = self.plan(gain, ceiling)
        if curve.min() == 1:
            return self.scale(gain, notes)
        limited = apply_gain(self._unit, curve, self._block)
        planned = np.maximum(curve[:-1], curve[1:]) * self.peaks.measured
        after = BlockPeaks(limited, self._block, self._loops)
        true_peak = float(after.measure_at(planned > _NEARLY * planned.max()).max())
        level = self._level * gain
        # The gain moves while the waveform is interpolated, so the plan may be missed slightly.
        level *= min(1.0, ceiling / (true_peak * level))
        scaled = limited * np.float32(level)
        return Normalized(
            scaled,
            self.measure_loudness((curve[:-1] + curve[1:]) * (level / self._level / 2)),
            float(np.abs(scaled).max()),
            true_peak * level,
            notes=notes,
        )
