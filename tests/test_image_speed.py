"""The comparison of a worker inside and outside its image, without an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.image_speed import IMAGE, OLD, OUTSIDE, TIMER, check, connect, report, start_outside
from bench.page import TABLES

STEPS = {IMAGE: "AVX2", OUTSIDE: "AVX2", OLD: "none (not compiled: install with a compiler)"}
SECONDS = {IMAGE: (0.002, 0.001, 0.009), OUTSIDE: (0.003, 0.002, 0.002), OLD: (0.02, 0.01, 0.03)}


def _about() -> dict[str, dict[str, Any]]:
    same = {"precision": "int8", "threads": 2, "torch": "2", "python": "3", "exact": "e"}
    return {name: {**same, "native_step": step} for name, step in STEPS.items()}


def _runs() -> dict[str, list[dict[str, Any]]]:
    return {
        name: [
            {"decode": step, "total": 100 * step, "tokens": str(seed) * (1 + (name == OLD))}
            for seed, step in enumerate(steps)
        ]
        for name, steps in SECONDS.items()
    }


def test_ratios_are_of_medians_and_make_a_table() -> None:
    about, runs = _about(), _runs()
    check(about, runs)
    result = report(about, runs)
    assert result["ratios"] == {
        "decode, image over outside": 1.0,
        "decode, image over image without the step": 10.0,
        "total, image over outside": 1.0,
        "total, image over image without the step": 10.0,
    }
    conditions = {"model": "demo", "seconds_of_audio": 1.0, "rounds": 3, "machine": {"threads": 2}}
    table = TABLES["image_speed"](result | conditions)
    assert "| image without the step | none | 20.000 (10.000 to 30.000) | 10.00x | 2.00 |" in table


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        (IMAGE, "native_step", "none (not compiled)"),
        (OLD, "native_step", "AVX2"),
        (OLD, "exact", "other music"),
        (OUTSIDE, "threads", 4),
        (OUTSIDE, "torch", "1"),
    ],
)
def test_unlike_contestants_are_refused(name: str, field: str, value: object) -> None:
    about = _about()
    about[name][field] = value
    with pytest.raises(AssertionError):
        check(about, _runs())


def test_other_tokens_in_the_image_are_refused() -> None:
    runs = _runs()
    runs[IMAGE][1]["tokens"] = "other"
    with pytest.raises(AssertionError, match="other music"):
        check(_about(), runs)


@pytest.mark.slow
def test_the_timer_makes_the_clip_of_a_seed(tmp_path: Path) -> None:
    (tmp_path / TIMER.name).symlink_to(TIMER)
    settings = {"MUSICGEN_MODEL": "demo", "MUSICGEN_THREADS": "1", "MUSICGEN_DEVICE": "cpu"}
    path = tmp_path / "socket"
    with connect(path, start_outside(path, settings)) as contestant:
        first, again, other = (contestant.make_clip(seed, 0.5) for seed in (1, 1, 2))
    assert contestant.about["threads"] == 1 and contestant.about["precision"] == "int8"
    assert first["tokens"] == again["tokens"] != other["tokens"]
    assert first["total"] > first["decode"] > 0


@pytest.mark.slow
def test_a_timer_without_its_settings_is_noticed_at_once(tmp_path: Path) -> None:
    (tmp_path / TIMER.name).symlink_to(TIMER)
    path = tmp_path / "socket"
    with pytest.raises(SystemExit, match="did not start"), connect(path, start_outside(path, {})):
        pass
