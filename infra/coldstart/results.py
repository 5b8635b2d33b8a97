"""Result of the cold start tools: one line of JSON, printed and optionally saved."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any


def add_save(parser: argparse.ArgumentParser) -> None:
    """Add the option --save."""
    parser.add_argument("--save", type=Path, help="also write the JSON to this file")


def write_result(result: dict[str, Any], options: argparse.Namespace) -> None:
    """Write the result as the last line on standard output, and to the file of --save."""
    line = json.dumps(result) + "\n"
    if options.save:
        options.save.write_text(line, encoding="utf-8")
    sys.stdout.write(line)
