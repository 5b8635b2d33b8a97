"""Child of `musicgen.credentials.ingredient`: `python -m … FILE RELATION`.

It prints one line of JSON, `is_generated` and `has_credentials`, and then the archive.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from musicgen.audio.decoder_limits import limit_resources


def main() -> int:
    """Write the archive of the input audio to the standard output."""
    limit_resources()
    from musicgen.credentials.archive import build_archive

    data = Path(sys.argv[1]).read_bytes()
    facts, archive = build_archive(data, sys.argv[2])
    sys.stdout.buffer.write(json.dumps(facts).encode() + b"\n" + archive)
    return 0


if __name__ == "__main__":
    sys.exit(main())
