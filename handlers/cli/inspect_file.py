"""`musicgen inspect`: tags, mark and content credentials of a file, and whether they hold."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from handlers.cli.options import Commands
from handlers.cli.statuses import EXIT_FAILED
from musicgen.errors import InvalidInputAudio
from musicgen.errors.counts import format_count
from musicgen.settings import Settings

FILE_MAX = 2**30
"""Limit of a file in bytes: it is read whole."""
ANCHORS_MAX = 2**24
"""Limit of the file of trusted certificates in bytes; whole trust lists have some 100,000."""
_SOUNDS = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"ID3", *(bytes([255, n]) for n in range(224, 256)))
"""First bytes of the formats; an mp3 without a tag begins with the sync word of a frame."""
_STATES = {
    "none": "none",
    "invalid": "DO NOT HOLD: the file was changed, or its signature is wrong",
    "valid": "hold, by a signer that is not in --trust",
    "trusted": "hold, by a trusted signer",
}


def add(commands: Commands) -> None:
    """Add the command `inspect`."""
    parser = commands.add_parser(
        "inspect",
        help="show tags and content credentials of a file, and whether they hold",
        description="Shows the tags of a clip, its mark as made by an AI model, and its content "
        "credentials (C2PA; a signed file needs the extra credentials). The exit status is 1 for "
        "credentials that do not hold, and with --require for a file without any. Nothing is "
        "fetched from the network.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="a wav, flac, mp3, ogg or opus")
    parser.add_argument(
        "--trust", type=Path, metavar="PEM", help="trusted root certificates; default: none"
    )
    parser.add_argument(
        "--require",
        action="store_true",
        help="fail for a file without credentials, and with --trust for an unknown signer",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_inspect)


def _inspect(options: argparse.Namespace, settings: Settings) -> int:
    from musicgen.audio.marking import read_mark
    from musicgen.audio.tags import read_tags
    from musicgen.credentials.library import require_library
    from musicgen.credentials.report import holds_manifest, read_credentials

    data = _read("FILE", options.file, FILE_MAX)
    if not data.startswith(_SOUNDS):
        raise InvalidInputAudio("FILE", "is not a wav, flac, mp3, ogg or opus", value=options.file)
    if options.trust is not None or options.require or holds_manifest(data):
        require_library()
    anchors = None if options.trust is None else _read_anchors(options.trust)
    tags, report = read_tags(data), read_credentials(data, anchors)
    found = {
        "file": str(options.file),
        "tags": None if tags is None else _describe_tags(asdict(tags)),
        "digital_source_type": read_mark(data),
        "credentials": asdict(report),
    }
    if options.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        _print(found)
    accepted: tuple[str, ...] = ("valid", "trusted", "none")
    if options.require:
        accepted = ("trusted",) if options.trust else ("valid", "trusted")
    return 0 if report.state in accepted else EXIT_FAILED


def _read_anchors(path: Path) -> str:
    """Return certificates in PEM, without what else stands in their file."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        certificates = x509.load_pem_x509_certificates(_read("--trust", path, ANCHORS_MAX))
    except ValueError as error:
        problem = "holds no certificates in PEM"
        raise InvalidInputAudio("--trust", problem, value=path) from error
    return "".join(c.public_bytes(Encoding.PEM).decode("ascii") for c in certificates)


def _read(name: str, path: Path, limit: int) -> bytes:
    try:
        if not path.is_file():
            raise InvalidInputAudio(name, "is not an existing file", value=path)
        if path.stat().st_size > limit:
            raise InvalidInputAudio(
                name, f"is larger than {format_count(limit, 'byte')}", value=path
            )
        return path.read_bytes()
    except OSError as error:
        raise InvalidInputAudio(name, f"cannot be read: {error.strerror}", value=path) from error


def _describe_tags(tags: dict[str, Any]) -> dict[str, Any]:
    """Return the tags without the text of the tokens, which is long."""
    return {**tags, "tokens": tags["tokens"] is not None}


def _print(found: dict[str, Any]) -> None:
    for name, value in (found["tags"] or {"tags": "none of this project"}).items():
        if value not in (None, False):
            _print_line(name, value)
    _print_line("digital source type", found["digital_source_type"] or "not marked")
    report = found["credentials"]
    _print_line("credentials", _STATES[report["state"]])
    for name in ("signer", "signed_at", "model", "licence"):
        if report[name] is not None:
            _print_line(f"  {name.replace('_', ' ')}", report[name])
    for kind in report["source_types"]:
        _print_line("  source type", kind)
    for problem in report["problems"]:
        _print_line("  problem", problem)
    for item in report["ingredients"]:
        kept = "with its credentials" if item["has_credentials"] else "without credentials"
        _print_line("  ingredient", f"{item['title']} ({item['relation']}), {kept}")


def _print_line(name: str, value: object) -> None:
    # The text of a stranger must not move the cursor.
    shown = "".join(c if c.isprintable() else " " for c in str(value))
    sys.stdout.write(f"{name + ':':24}{shown}\n")
