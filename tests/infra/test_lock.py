"""The images' requirement files: exact versions, hashes, complete, and those of pyproject.toml."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from infra.check.tools import find_tool
from infra.lock import check
from infra.lock.__main__ import render_cpu_torch
from infra.lock.files import CPU_TORCH, FILES, ROOT, is_cuda, read_locked

WORKER = next(file for file in FILES if file.path.endswith("worker-requirements.txt"))


def test_the_files_fit_the_project() -> None:
    assert check.problems() == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("httpx==", "httpx>=", "httpx has no exact version"),
        ("httpx==0.", "httpx==0.1.", "httpx>=0.28 is missing"),
        ("h11==", "h12==", "h11>=0.16 is missing"),
        ("boto3==", "boto4==", "boto3>=1.40 is missing"),
        (
            "tokenizers==",
            "torch==2.13.0 \\\n    --hash=sha256:" + "0" * 64 + "\ntokenizers==",
            "torch belongs to",
        ),
        ("tokenizers==", "nvidia-cublas==1\ntokenizers==", "nvidia-cublas has no hashes"),
        ("boto3==", "--index-url https://example.com/simple\nboto3==", "names an index"),
        ("# Written by", "# Made by", "was not written by"),
    ],
)
def test_a_fault_in_a_file_is_named(tmp_path: Path, old: str, new: str, problem: str) -> None:
    text = (ROOT / WORKER.path).read_text(encoding="utf-8")
    assert old in text
    changed = tmp_path / "requirements.txt"
    changed.write_text(
        text.replace(f"\n{old}", f"\n{new}", 1) if old[0] != "#" else text.replace(old, new, 1)
    )
    assert any(problem in each for each in check.check_file(WORKER, changed))


def test_a_new_dependency_of_the_project_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    project = check.read_inputs(WORKER)
    monkeypatch.setattr(
        check, "read_inputs", lambda _: [*project, check.Requirement("librosa>=0.10")]
    )
    assert any("librosa>=0.10 is missing" in each for each in check.problems())


def test_torch_for_processors_brings_nothing_of_cuda() -> None:
    names = [each.name for each, _ in read_locked(ROOT / CPU_TORCH)]
    assert [name for name in names if is_cuda(name)] == ["torch"]
    assert "torch==2.13.0+cpu\n" in render_cpu_torch()


@pytest.mark.skipif(find_tool("cyclonedx-py") is None, reason="needs cyclonedx-bom: `make sbom`")
def test_a_list_of_parts_names_each_package_with_its_hashes(tmp_path: Path) -> None:
    tool, output = find_tool("cyclonedx-py"), tmp_path / "worker.json"
    assert tool is not None
    subprocess.run(
        [tool, "requirements", str(ROOT / WORKER.path), "--output-file", str(output)], check=True
    )
    parts = {each["name"]: each for each in json.loads(output.read_text())["components"]}
    locked = list(read_locked(ROOT / WORKER.path))
    assert set(parts) == {each.name for each, _ in locked}
    for each, hashes in locked:
        if each.name == "boto3":
            found = {
                h["content"] for r in parts["boto3"]["externalReferences"] for h in r["hashes"]
            }
            assert found and found <= {h.removeprefix("sha256:") for h in hashes}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("uv") is None, reason="needs uv: `make check-infra` brings it")
def test_the_command_changes_nothing_that_fits() -> None:
    from infra.lock.__main__ import compile_file

    assert compile_file(WORKER, shutil.which("uv") or "", []) == (ROOT / WORKER.path).read_text()
