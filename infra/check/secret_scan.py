"""Scan for secrets in files, by detect-secrets and the token formats of the platforms."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from infra.check.tools import ROOT, ToolError, read_output, run

TOKENS = Path(__file__).with_name("token_shapes.py")
# Detectors of a name beside a value; tests are full of such lines.
GUESSES = (
    "KeywordDetector",
    "BasicAuthDetector",
    "HexHighEntropyString",
    "Base64HighEntropyString",
)
NO_SECRETS = r"^(musicgen/database|musicgen-(tls|database|bucket)|url|whsec_|PASSWORD)$"
"""A vault's path, the names of Secrets and of their keys, the prefix of webhook secrets, a form."""


def problems() -> list[str]:
    """Return the secrets found in the files of the git index."""
    status, output = run("git", "ls-files")
    if status:
        raise ToolError(f"git ls-files: {output}")
    files = output.splitlines()
    own = [name for name in files if not name.startswith("tests/")]
    tests = [name for name in files if name.startswith("tests/")]
    return [*scan_files(own), *scan_files(tests, GUESSES)]


def scan_files(files: Sequence[str], without: Sequence[str] = (), folder: Path = ROOT) -> list[str]:
    """Return the secrets found in `files`, paths below `folder`. `without`: disabled detectors."""
    off = [word for name in without for word in ("--disable-plugin", name)]
    options = ("--all-files", "--no-verify", "--exclude-secrets", NO_SECRETS)
    scan = ("scan", "--plugin", str(TOKENS), *options, *off)
    report = json.loads(read_output("detect-secrets", *scan, *files, folder=folder))
    used = {plugin["name"] for plugin in report["plugins_used"]}
    if "PlatformTokenDetector" not in used:
        raise ToolError(f"detect-secrets did not load {TOKENS}")
    return [
        f"{name}:{secret['line_number']}: {secret['type']}"
        for name, secrets in report["results"].items()
        for secret in secrets
    ]
