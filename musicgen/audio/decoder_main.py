"""Child of `musicgen.audio.decoder_process`: `python -m musicgen.audio.decoder_main FILE`.

It prints lines of JSON: first `rate`, `channels` and `frames` (null if unknown), then `samples` of
each block, followed by its bytes (float32, all channels of a sample together), last `end`. A
refused file ends with `problem` and `advice`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import IO

from musicgen.audio.decoder_limits import limit_resources

# NumPy must not be imported before the limits: see `limit_resources`.
from musicgen.errors.sound_reasons import SoundReason


def main() -> int:
    """Write the samples of the file named by the first argument to the standard output."""
    limit_resources()
    from musicgen.audio.decoders import open_sound
    from musicgen.audio.sound import SoundProblem

    output = sys.stdout.buffer
    try:
        sound = open_sound(Path(sys.argv[1]))
        _write_line(output, rate=sound.rate, channels=sound.channels, frames=sound.frames)
        for block in sound.read_blocks():
            _write_line(output, samples=len(block))
            output.write(block.tobytes())
        _write_line(output, end=True)
    except SoundProblem as error:
        _write_line(output, **error.problem.to_mapping(), advice=error.advice)
    except OSError as error:
        reason = SoundReason("unreadable", why=str(error.strerror))
        _write_line(output, **reason.to_mapping(), advice="")
    output.flush()
    return 0


def _write_line(output: IO[bytes], **fields: object) -> None:
    output.write(json.dumps(fields).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
