"""The build context: secrets, state and weights of a checkout stay out, the sources go in."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.support import ROOT

PATTERNS = [
    line
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


def is_ignored(path: str) -> bool:
    """Apply Docker's rules: the last pattern that matches the path or a folder above it decides."""
    parts = path.split("/")
    above = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    ignored = False
    for pattern in PATTERNS:
        text = re.escape(pattern.removeprefix("!").strip("/"))
        text = text.replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
        if any(re.fullmatch(text, each) for each in above):
            ignored = not pattern.startswith("!")
    return ignored


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        "infra/compose/.env",
        "infra/compose/.env.production",
        "infra/k8s/overlays/production/.env",
        "handlers/.env",
        "musicgen/demo/.env.local",
        ".git/config",
        ".netrc",
        "infra/.aws/credentials",
        "handlers/server.pem",
        "infra/deploy/id_ed25519",
        "musicgen/tls.key",
        "infra/k8s/kubeconfig.yaml",
        "small.native-int8.packed",
        "packed/small.plain-bfloat16.packed",
        "musicgen/large.packed",
        "infra/docker/model.tar.gz",
        "outputs/spool/0.clip",
        "outputs/postgres/postmaster.pid",
        "backup.dump",
        ".venv/bin/python",
        "musicgen/model/native/_step.cpython-311-x86_64-linux-gnu.so",
        "musicgen/__pycache__/result.cpython-311.pyc",
        "handlers/cli/.mypy_cache/x",
        "serve.log",
    ],
)
def test_what_an_image_must_not_hold_stays_out(path: str) -> None:
    assert is_ignored(path)


def test_every_file_of_the_sources_goes_in() -> None:
    names = ["musicgen", "musicgen_client", "handlers", "infra", "LICENSE", "README.md"]
    names += ["pyproject.toml", "runpod_handler.py", "predict.py", "test_input.json"]
    listed = subprocess.run(
        ["git", "ls-files", *names], cwd=ROOT, capture_output=True, text=True, check=True
    )
    left_out = [path for path in listed.stdout.splitlines() if is_ignored(path)]
    assert left_out in ([], ["infra/compose/.env.example"])
