"""Calls with the replies that pages show: sent by curl as they stand, and compared."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT
from tests.support.clips import wav
from tests.support.job_server import JobServer

SHOWN = "http://127.0.0.1:8000"
PAGES = {"README.md": 2, "docs/job_api.md": 10, "skills/musicgen/SKILL.md": 0}
"""Pages with calls, and the number of replies on each."""
MORE = "..."


def _list_calls(page: str) -> list[tuple[str, str]]:
    """Return each line of a block with calls, and the reply shown behind or below it."""
    blocks = re.findall(r"^```(?:sh|bash|text)\n(.*?)^```", (ROOT / page).read_text(), re.S | re.M)
    calls: list[tuple[str, str]] = []
    for block in blocks:
        if "curl" not in block:
            continue
        for line in block.replace("\\\n", " ").splitlines():
            command, _, comment = re.sub(r"\s+#\s", "\0", f" {line}").partition("\0")
            if command.strip():
                calls.append((command.strip(), comment))
            elif calls[-1][1] == "":
                calls[-1] = (calls[-1][0], comment)
    return calls


def _read_shown(comment: str) -> Any:
    """Return the JSON at the beginning of a comment; an object that goes on has the key `...`."""
    text = re.sub(r",\s*\.\.\.(?=[}\]])", f', "{MORE}": 0', comment)
    return json.JSONDecoder().raw_decode(text)[0]


def _compare(shown: Any, real: Any, place: str) -> None:
    """Compare keys and types; identifiers and numbers differ from run to run."""
    if isinstance(shown, dict):
        names = set(shown) - {MORE}
        assert names <= set(real), (place, names - set(real))
        assert MORE in shown or names == set(real), (place, set(real) - names)
        for name in names:
            _compare(shown[name], real[name], f"{place}.{name}")
    elif isinstance(shown, list):
        assert len(shown) == len(real), place
        for one, other in zip(shown, real, strict=True):
            _compare(one, other, f"{place}[]")
    else:
        assert type(shown) is type(real), (place, shown, real)
        if isinstance(shown, str) and MORE not in shown and not place.endswith("_at"):
            assert shown == real, place


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("page", PAGES)
def test_each_call_is_answered_as_shown(server: JobServer, page: str, tmp_path: Path) -> None:
    """Guards a reply on a page that lacks a field, or has one of the past."""
    (tmp_path / "clip.wav").write_bytes(wav(1))
    env, settings, compared = os.environ | {"URL": server.url}, "", 0
    for command, comment in _list_calls(page):
        if not command.startswith("curl"):
            settings += f"{command.replace(SHOWN, server.url)}\n"
            continue
        done = subprocess.run(
            ["bash", "-c", settings + command.replace(SHOWN, server.url)],
            cwd=tmp_path,
            env=env,
            check=True,
            capture_output=True,
            text=True,
        )
        if not comment.startswith("{"):
            assert '"error":{' not in done.stdout, done.stdout
        real = json.loads(done.stdout.replace(server.url, SHOWN) or "{}")
        if comment.startswith("{"):
            _compare(_read_shown(comment), real, command)
            compared += 1
        if real.get("status") == "queued":
            env["JOB_ID"] = real["job_id"]
            server.ended(real["job_id"])
    assert compared == PAGES[page]
