"""Checks of settings and clip lengths against the limits of a platform, before anything is made.

The limits and their sources are in docs/platforms.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from infra.deploy.speed import Load, find_pace
from infra.deploy.target import Check
from musicgen.errors import MusicGenError
from musicgen.errors.counts import format_count
from musicgen.request.limits import DURATION_MAX_SECONDS
from musicgen.settings import ModelServerSettings, Settings
from musicgen.settings.model_server import ANSWER_SECONDS, Platform

CALL, LONGEST = "MUSICGEN_CALL_SECONDS", "longest clip"


@dataclass(frozen=True)
class CallLimit:
    """Limits of a platform for one call, as this deployment configures it.

    `seconds`: until the platform ends a call; None where nobody documents it. `remedy`: what raises
    it. `caller_seconds`: end of a call whose caller sends no time of its own, and `caller_remedy`.
    `server`: the platform's name for the model server, if that runs there; only it reads
    `answer_mb` (longest answer) and `stop_seconds` (from SIGTERM to SIGKILL).
    """

    platform: str
    seconds: float | None
    remedy: str
    caller_seconds: float | None = None
    caller_remedy: str = ""
    server: Platform | None = None
    answer_mb: float | None = None
    stop_seconds: int | None = None


def check_call_limits(limit: CallLimit, env: Mapping[str, str], load: Load) -> Iterator[Check]:
    """Check the container's variables `env`, and the time of the longest clip under `load`."""
    known = {name: value for name, value in env.items() if not value.startswith("{{")}
    if limit.server:
        known = {"MUSICGEN_PLATFORM": limit.server} | known
    try:
        Settings.from_env(known)
        server = ModelServerSettings.from_env(known)
    except MusicGenError as error:
        yield Check("settings", False, str(error))
        return
    yield Check("settings", True, "valid")
    seconds = limit.seconds
    if limit.server:
        yield from _check_server(limit, server)
        seconds = min(seconds or server.call_seconds, server.call_seconds)
    elif CALL in env:
        detail = f"without effect on {limit.platform}: only the model server reads it"
        yield Check(CALL, True, f"{detail}. {limit.remedy}".strip(), is_risky=True)
    yield _check_longest(limit, seconds, load)


def _check_server(limit: CallLimit, server: ModelServerSettings) -> Iterator[Check]:
    """Check the limits of the model server: it must end before the platform hangs up."""
    name, most = limit.platform, (limit.seconds or 0) - ANSWER_SECONDS
    if limit.seconds is not None:
        is_met = server.call_seconds <= most
        detail = f"{name} ends a call after {limit.seconds:g} s, and the server after "
        detail += f"{server.call_seconds:g} s"
        advice = f"set it to {most:g} at most. {limit.remedy}"
        yield Check(CALL, is_met, detail if is_met else f"{detail}: {advice}".strip())
    if limit.answer_mb is not None:
        answer = server.answer_bytes / 1e6
        is_met = answer <= limit.answer_mb
        detail = f"{answer:.4g} MB"
        remedy = f"{detail}: {name} cuts an answer above {limit.answer_mb:.4g} MB. Set it to less, "
        remedy += "or MUSICGEN_BUCKET"
        yield Check("MUSICGEN_ANSWER_MB", is_met, detail if is_met else remedy)
    if limit.stop_seconds is not None:
        is_met = server.stop_seconds < limit.stop_seconds
        detail = f"{server.stop_seconds} s"
        remedy = f"{detail}: {name} kills the container {limit.stop_seconds} s after SIGTERM. "
        remedy += "Set it to less"
        yield Check("MUSICGEN_STOP_SECONDS", is_met, detail if is_met else remedy)


def _check_longest(limit: CallLimit, seconds: float | None, load: Load) -> Check:
    """Compare the estimated time of the longest allowed clip, all slots busy, with the limit."""
    pace = find_pace(load)
    if pace is None:
        where = ", ".join(load.gpus) or "the processor"
        model = load.model or "the image's own model"
        detail = f"not estimated: no figures for {model} on {where}"
        end = f"; a call ends after {seconds:g} s" if seconds else ""
        return Check(LONGEST, True, detail + end)
    rate = pace.of(load.slots) / load.slots
    needed = DURATION_MAX_SECONDS / rate
    at_once = f" with {format_count(load.slots, 'call')} at once" if load.slots > 1 else ""
    work = f"{DURATION_MAX_SECONDS:g} s of music take about {needed:.0f} s{at_once} ({pace.source})"
    if seconds is None:
        return Check(LONGEST, True, f"{work}; the limit of {limit.platform} is not documented")
    if needed > seconds:
        fit = f"clips above about {seconds * rate:.0f} s are cut off after {seconds:g} s"
        advice = "choose a faster GPU or fewer calls at once"
        advice = f"{advice}. {limit.remedy}" if limit.remedy else advice
        return Check(LONGEST, True, f"{work}: {fit}: {advice}", is_risky=True)
    if limit.caller_seconds is not None and needed > limit.caller_seconds:
        fit = f"clips above about {limit.caller_seconds * rate:.0f} s are cut off after "
        fit += f"{limit.caller_seconds:g} s"
        return Check(LONGEST, True, f"{work}: {fit}, {limit.caller_remedy}", is_risky=True)
    return Check(LONGEST, True, work)
