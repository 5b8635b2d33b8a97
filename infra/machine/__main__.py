"""`python -m infra.machine HOST --env FILE`: Write user data of cloud-init for one GPU machine.

    python -m infra.machine music.example.com --env infra/compose/.env > user-data.yaml

Give the output to a new machine with Ubuntu 24.04 and a GPU of NVIDIA. FILE has the images of
infra/compose/.env.example; its passwords stay where they are.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.machine.user_data import BadValue, render_user_data


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the user data; return the exit status: 2 for a wrong host, file or image."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.machine",
        description=(__doc__ or "").splitlines()[0].partition(": ")[2],
    )
    parser.add_argument(
        "host", metavar="HOST", help="host name, whose address leads to the machine"
    )
    parser.add_argument(
        "--env", required=True, type=Path, metavar="FILE", help="file with the images"
    )
    given = parser.parse_args(arguments)
    try:
        lines = _read_lines(given.env)
        images = dict(line.partition("=")[::2] for line in lines if line and line[0] != "#")
        sys.stdout.write(render_user_data(given.host, images))
    except BadValue as error:
        parser.exit(2, f"{error}\n")
    return 0


def _read_lines(env: Path) -> list[str]:
    """Return the lines of the file of images. Raises: `BadValue`."""
    try:
        return env.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise BadValue(
            f"--env: {str(env)!r} cannot be read ({reason}). Name a copy of "
            "infra/compose/.env.example with your images."
        ) from error


if __name__ == "__main__":
    sys.exit(main())
