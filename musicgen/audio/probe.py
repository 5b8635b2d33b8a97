"""Measure a caller's sound in a process of its own: `python -m musicgen.audio.probe FILE`.

Decoding a hostile file may take any memory and time, so this process limits both. It prints one
JSON object: `seconds`, or `reason`, `values` and `advice` of a refused file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from musicgen.audio.decoder_limits import limit_resources


def main() -> int:
    """Print the length or the problem of the file named by the first argument."""
    limit_resources()
    from musicgen.audio.decode import measure_audio
    from musicgen.errors import InvalidInputAudio
    from musicgen.errors.sound_reasons import SoundReason

    try:
        answer: dict[str, object] = {"seconds": measure_audio(Path(sys.argv[1]))}
    except InvalidInputAudio as error:
        # Without the name of the file: its owner has never seen it.
        assert isinstance(error.problem, SoundReason), "each refusal of a file has its code"
        answer = {**error.problem.to_mapping(), "advice": error.advice}
    sys.stdout.write(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
