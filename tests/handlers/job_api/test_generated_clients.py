"""Clients that generators make of the document, each at work with a real server."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.generated_clients import (
    GENERATOR,
    NODE_MODULES,
    compile_example,
    python_of_generator,
    run,
    typescript_project,
)
from tests.support.job_server import JobServer

pytestmark = pytest.mark.slow
SECOND_BYTES = 44 + 2 * 32_000
"""Of a second of music as 16-bit wav, without its tags."""
ODD = (
    '{ promt: "x" }',
    '{ prompt: "x", duration: "5" }',
    '{ prompt: "x", output_format: "aac" }',
    '{ prompt: "x", sections: [{ prompt: "x" }] }',
)
"""Bodies that neither the types nor the server accept."""
DELETED = "/v1/jobs/{job_id}"


@pytest.fixture(scope="module")
def document(server: JobServer) -> dict[str, Any]:
    """The document as the server sends it."""
    document: dict[str, Any] = server.http.get("/openapi.json").json()
    return document


def _check_clip(server: JobServer, made: dict[str, Any]) -> None:
    assert made["head"] == "RIFF"
    assert SECOND_BYTES <= made["bytes"] < SECOND_BYTES + 4096
    assert made["deleted"] in (200, 204)


def test_a_python_client(server: JobServer, document: dict[str, Any], tmp_path: Path) -> None:
    python = python_of_generator()
    source, package = tmp_path / "openapi.json", tmp_path / "job_client"
    source.write_text(json.dumps(document), encoding="utf-8")
    command = ("generate", "--path", source, "--output-path", package, "--meta", "none")
    # A warning names a part of the document that the client lacks.
    printed = run(python.parent / GENERATOR, *command, "--fail-on-warning", folder=tmp_path)
    assert "WARNING" not in printed
    caller = Path(__file__).parents[2] / "support" / "generated_caller.py"
    delete = document["paths"][DELETED]["delete"]["operationId"]
    made = json.loads(
        run(python, caller, server.url, delete, folder=tmp_path, PYTHONPATH=str(tmp_path))
    )
    _check_clip(server, made)
    assert made["again"] == made["job_id"] and made["job_id"] in made["listed"]
    assert (made["status"], made["prompt"]) == ("completed", "calm piano")
    assert (made["default"], made["missing"]) == ("demo", "not_found")


@pytest.fixture(scope="module")
def project(document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The TypeScript client, generated for this server."""
    project = typescript_project(tmp_path_factory.mktemp("typescript"), document)
    run("npm", "run", "generate", folder=project)
    return project


def test_a_typescript_client(server: JobServer, project: Path) -> None:
    run("npm", "run", "check", folder=project)
    made = json.loads(run("node", compile_example(project), server.url, folder=project))
    _check_clip(server, made)
    assert (made["ogg"], made["seed"], made["progress"]) == ("OggS", 7, 1)
    assert made["refusal"] == {"code": "not_found", "status": 404}
    assert made["request"]["prompt"] == "calm piano"


def test_the_types_refuse_what_the_server_refuses(project: Path) -> None:
    odd = project / "src" / "odd.ts"
    bodies = "".join(f"export const body{n}: GenerationRequest = {b};\n" for n, b in enumerate(ODD))
    odd.write_text(f'import type {{ GenerationRequest }} from "./index.js";\n{bodies}')
    try:
        done = subprocess.run(
            [NODE_MODULES / ".bin" / "tsc", "--noEmit"], cwd=project, capture_output=True, text=True
        )
    finally:
        odd.unlink()
    lines = re.findall(r"^src/odd\.ts\((\d+),", done.stdout, re.MULTILINE)
    assert sorted(set(lines)) == [str(n + 2) for n in range(len(ODD))], done.stdout


def test_the_built_package_has_its_types(project: Path) -> None:
    run("npm", "run", "build", folder=project)
    assert {"index.d.ts", "index.js", "schema.d.ts"} <= {
        path.name for path in (project / "dist").iterdir()
    }
