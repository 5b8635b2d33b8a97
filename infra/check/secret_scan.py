"""Secrets that were written down, by detect-secrets and the shapes of our platforms' own tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from infra.check.tools import ROOT, output, run

TOKENS = Path(__file__).with_name("token_shapes.py")
# What looks like a name beside a value: in tests every second line does.
GUESSES = (
    "KeywordDetector",
    "BasicAuthDetector",
    "HexHighEntropyString",
    "Base64HighEntropyString",
)
NO_SECRETS = r"^(musicgen/database|musicgen-tls|url|whsec_)$"
"""A vault's path, names of Secrets and of their keys, the prefix of every webhook's."""


def problems() -> list[str]:
    """Of every file that git knows."""
    status, said = run("git", "ls-files")
    if status:
        raise RuntimeError(f"git ls-files: {said}")
    files = said.splitlines()
    own = [name for name in files if not name.startswith("tests/")]
    tests = [name for name in files if name.startswith("tests/")]
    return [*found_in(own), *found_in(tests, GUESSES)]


def found_in(files: Sequence[str], without: Sequence[str] = (), folder: Path = ROOT) -> list[str]:
    """`files`: paths below `folder`. `without`: detectors that are not asked."""
    off = [word for name in without for word in ("--disable-plugin", name)]
    options = ("--all-files", "--no-verify", "--exclude-secrets", NO_SECRETS)
    where = ("scan", "--plugin", str(TOKENS))
    report = json.loads(output("detect-secrets", *where, *options, *off, *files, folder=folder))
    used = {each["name"] for each in report["plugins_used"]}
    if "PlatformTokenDetector" not in used:
        raise RuntimeError(f"detect-secrets did not load {TOKENS}")
    return [
        f"{name}:{each['line_number']}: {each['type']}"
        for name, each_file in report["results"].items()
        for each in each_file
    ]
