"""`musicgen.audio.probe` for many files: a process that forks for each, so Python starts once.

It reads paths, one a line, and prints one JSON object for each: `output` and `status` of the probe,
`kilobytes` of its memory and `seconds` of its processor time.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

from musicgen.audio import probe


def measure(path: str) -> dict[str, object]:
    """The end of a probe in a child process."""
    written = Path(f"{path}.json")
    child = os.fork()
    if child == 0:
        os.dup2(os.open(written, os.O_WRONLY | os.O_CREAT, 0o600), 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        sys.argv = ["probe", path]
        code = 1
        try:
            code = probe.main()
            sys.stdout.flush()
        finally:
            os._exit(code)
    _, status, usage = os.wait4(child, 0)
    output = written.read_text(encoding="utf-8")
    written.unlink()
    return {
        "output": output,
        "status": os.waitstatus_to_exitcode(status),
        "kilobytes": usage.ru_maxrss,
        "seconds": usage.ru_utime + usage.ru_stime,
    }


def main() -> None:
    for name in ("av", "soundfile", "musicgen.audio.decode", "musicgen.audio.ffmpeg_sound"):
        importlib.import_module(name)
    for line in sys.stdin:
        print(json.dumps(measure(line.rstrip("\n"))), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
