"""Survey of the catalog: the models, and decoder, that a worker's machine cannot have.

This file is also the program of a survey. A worker runs it as a process, because the hub's package
takes time and memory that the worker otherwise does not need.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import os
import sys
from collections.abc import Callable

from musicgen import catalog
from musicgen.checkpoints.locate import find_in_cache
from musicgen.errors import CheckpointNotFound

AGAIN_SECONDS = 600.0
SOON_SECONDS = 60.0
"""Until the next survey after one that found models missing: requests for these are refused."""
IDLE_SECONDS, LONGEST_WAIT_SECONDS = 2.0, 120.0
"""Rest of a worker before a survey, and the longest wait for it."""
LOWEST_PRIORITY = 19
HUB_SECONDS, HUB_ATTEMPTS = 5.0, 2

logger = logging.getLogger(__name__)


class ModelSurvey:
    """Names of the catalog that this machine cannot have.

    `missing` is empty until the first survey has ended. Models in use are none of its business: a
    loaded model may be named in it.
    """

    def __init__(self) -> None:
        self.missing: tuple[str, ...] = ()

    async def run(self, is_idle: Callable[[], bool]) -> None:
        """Repeat the survey until cancelled: a network or a file may come later.

        It waits until the worker rests: its first job often arrives together with its start.
        """
        while True:
            await _wait_for_rest(is_idle)
            try:
                self.missing = await _survey_in_process()
            except Exception:
                logger.warning("The survey of the models failed; trying again.", exc_info=True)
            await asyncio.sleep(SOON_SECONDS if self.missing else AGAIN_SECONDS)


async def _wait_for_rest(is_idle: Callable[[], bool]) -> None:
    """Wait until the worker has been idle for `IDLE_SECONDS`, at most `LONGEST_WAIT_SECONDS`."""
    clock = asyncio.get_running_loop().time
    end = clock() + LONGEST_WAIT_SECONDS
    rested = clock()
    while clock() < end and clock() - rested < IDLE_SECONDS:
        await asyncio.sleep(IDLE_SECONDS / 8)
        if not is_idle():
            rested = clock()


async def _survey_in_process() -> tuple[str, ...]:
    """Return the answer of a new process. Raises: `OSError`, `ValueError` if it has none."""
    command = (sys.executable, "-m", __name__)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    # Jobs that start meanwhile must not wait for it.
    with contextlib.suppress(ProcessLookupError):
        os.setpriority(os.PRIO_PROCESS, process.pid, LOWEST_PRIORITY)
    try:
        answer, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return tuple(json.loads(answer))


def find_missing_models() -> tuple[str, ...]:
    """Return the names of the catalog's models that this machine cannot load.

    Multi-band diffusion is among them by its name on the hub. Files of the catalog need PyTorch.
    Those outside the hub's cache need the hub.
    """
    entries = catalog.CATALOG.values()
    if importlib.util.find_spec("torch") is None:
        return *(entry.name for entry in entries), catalog.DIFFUSION
    sources = {entry.name: entry.source for entry in entries if entry.source != "package"}
    sources[catalog.DIFFUSION] = catalog.DIFFUSION
    absent = [name for name, source in sources.items() if not _is_in_cache(source)]
    return () if not absent or is_hub_reachable() else tuple(absent)


def is_hub_reachable() -> bool:
    """Return whether the Hugging Face hub, or the mirror in its place, answers this machine."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    import httpx

    for _ in range(HUB_ATTEMPTS):
        with contextlib.suppress(httpx.HTTPError, httpx.InvalidURL):
            if httpx.head(constants.ENDPOINT, timeout=HUB_SECONDS).status_code < 500:
                return True
    return False


def _is_in_cache(repository: str) -> bool:
    try:
        return find_in_cache(repository, None) is not None
    except CheckpointNotFound:
        # Offline with several commits: it cannot be loaded by its name alone.
        return False


if __name__ == "__main__":
    sys.stdout.write(json.dumps(find_missing_models()))
