"""How the tools here end: one line of JSON, printed and, if asked for, saved."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any


def add_save(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--save", type=Path, help="also write the JSON to this file")


def tell(result: dict[str, Any], options: argparse.Namespace) -> None:
    """The last line on standard output."""
    line = json.dumps(result) + "\n"
    if options.save:
        options.save.write_text(line, encoding="utf-8")
    sys.stdout.write(line)
