"""Length of an uploaded sound, measured by a child process with limits of memory and time."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from contextlib import suppress
from pathlib import Path

import musicgen
from handlers.job_api.api.slots import Slots
from musicgen.audio.decoder_limits import OUT_OF_LIMITS
from musicgen.errors import InvalidInputAudio
from musicgen.errors.sound_reasons import SoundReason

SECONDS_MAX = 60.0
_FIELD = "body"
_MODULE = "musicgen.audio.probe"
_ROOT = Path(musicgen.__file__).parents[1]

logger = logging.getLogger(__name__)


class SoundProbe:
    """Measuring of sounds, a few at once."""

    def __init__(self, total: int = 2) -> None:
        self._slots = Slots("uploads to check", total, total, seconds=SECONDS_MAX)

    async def measure(self, path: Path, client: str) -> float:
        """Return the seconds of a sound.

        Raises: `InvalidInputAudio` for a file that is no sound, damaged, too long, or too
        expensive to decode; `ServerBusy`.
        """
        async with self._slots.hold(client):
            output, status = await _run(path)
        try:
            answer = json.loads(output)
        except ValueError:
            # Limits too low for this machine look like a bad file to every caller.
            logger.warning("the check of an upload ended early, with status %s", status)
            raise InvalidInputAudio(_FIELD, OUT_OF_LIMITS) from None
        if "reason" in answer:
            reason = SoundReason.from_mapping(answer)
            raise InvalidInputAudio(_FIELD, reason, advice=answer["advice"])
        return float(answer["seconds"])


async def _run(path: Path) -> tuple[bytes, int | None]:
    """Return output and exit status of the child process, None if it ran out of time."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", _MODULE, str(path.resolve())),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        # Its modules are found from there, however this process was started.
        cwd=_ROOT,
    )
    try:
        with suppress(asyncio.TimeoutError):
            output, _ = await asyncio.wait_for(process.communicate(), SECONDS_MAX)
            return output, process.returncode
        return b"", None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
